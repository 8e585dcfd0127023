"""What is sent to a bucket at the same time, and what never is: claim, then files, then manifest."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter

import pytest

from art.errors import CheckpointExistsError, RemoteAccessError
from art.format import layout
from art.format.manifest import FileEntry
from art.names import ModelRef
from art.ops.tree import read_tree
from art.remote.location import Patience, parse_location
from art.remote.objects import Objects
from art.remote.remote import Remote
from art.remote.write import FILES_AT_ONCE, write_files
from art.store.store import CheckpointStore

from .making import MODEL, make
from .proxy import Answer, Call, Delay, FaultProxy, Request, is_method, is_put_of

DESTINATION = ModelRef("shop", "agent 2")
DIGEST = "0" * 64


class Files:
    """A source whose files are empty; notes how many are written at once."""

    def __init__(self, *, meeting: int = 1, large: frozenset[str] = frozenset(), refused: str = "") -> None:
        self.meeting, self.large, self.refused = threading.Barrier(meeting), large, refused
        self.under_way, self.ended = set[str](), set[str]()

    def put(self, entry: FileEntry, key: str) -> None:
        if entry.path in self.large:
            assert not self.under_way
        self.under_way.add(entry.path)
        if entry.path == self.refused:
            raise RemoteAccessError("refused")
        if entry.path not in self.large:
            self.meeting.wait(timeout=30)
        time.sleep(0.02)
        self.under_way.remove(entry.path)
        self.ended.add(entry.path)

    def needs_memory(self, entry: FileEntry) -> bool:
        return entry.path in self.large


def entries(*names: str) -> list[FileEntry]:
    return [FileEntry(path=name, size_bytes=0, blake3=DIGEST) for name in names]


@pytest.fixture
def objects() -> Objects:
    return Objects(parse_location("memory://"), Patience())


def test_files_are_written_several_at_once_and_large_ones_alone(objects: Objects):
    names = [f"small-{number}" for number in range(FILES_AT_ONCE)]
    files = Files(meeting=FILES_AT_ONCE, large=frozenset({"large-1", "large-2"}))

    write_files(objects, "folder", entries("large-1", *names, "large-2"), files)

    assert files.ended == {"large-1", "large-2", *names}


def test_nothing_is_under_way_behind_a_file_that_is_refused(objects: Objects):
    files = Files(large=frozenset({"large"}), refused="a")

    with pytest.raises(RemoteAccessError):
        write_files(objects, "folder", entries("a", "b", "c", "large"), files)

    assert files.under_way == {"a"}
    assert "large" not in files.ended


@pytest.mark.parametrize("verb", ["push", "fork"])
def test_the_claim_comes_before_every_file_and_the_manifest_behind_all(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, verb: str
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(5))
    if verb == "fork":
        remote.push(pushed)
    proxy.forget()
    for name in (layout.ADAPTER_WEIGHTS, "/claims/"):
        proxy.fault(Delay(0.3), when=is_put_of(name))

    if verb == "push":
        remote.push(pushed)
    else:
        remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    keys = [request.path.rpartition("/")[2] for request in proxy.requests if changes(request)]
    assert keys[0] == "0005.json"
    assert keys[-1] == layout.MANIFEST
    assert set(keys[1:-1]) == {entry.path for entry in pushed.manifest.files}


def changes(request: Request) -> bool:
    return is_method("PUT", "POST", "DELETE")(request)


@pytest.mark.parametrize("other", ["is whole", "has claimed"])
def test_a_fork_that_another_one_overtakes_changes_nothing_of_it(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore, other: str
):
    remote, overtaking = Remote.open(moto_bucket), Remote.open(moto_bucket)
    for step in (5, 6):
        remote.push(make(here, MODEL.at(step)))
    theirs = overtaking.select(MODEL).checkpoint
    ours = remote.push(make(here, ModelRef("shop", "third").at(6), seed=9)).manifest.ref
    source = remote.open_checkpoint(ours)

    def overtake() -> None:
        if other == "has claimed":
            proxy.fault(Answer(403, "AccessDenied"), when=is_put_of(layout.ADAPTER_CONFIG))
            with pytest.raises(RemoteAccessError):
                overtaking.fork(theirs, DESTINATION)
        else:
            overtaking.fork(theirs, DESTINATION)

    proxy.fault(Call(overtake), when=is_put_of("/claims/"))

    with pytest.raises(CheckpointExistsError, match=r"/claims/0006\.json"):
        remote.fork(source, DESTINATION)

    overtaking.fork(theirs, DESTINATION)
    forked = overtaking.fetch(overtaking.select(DESTINATION).checkpoint, there).checkpoint
    there.verify(forked)
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.digest == theirs.digest


def test_a_fork_completes_what_lies_in_a_folder_that_has_no_manifest(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)
    proxy.fault(Answer(403, "AccessDenied"), when=is_put_of(layout.OPTIMIZER))
    with pytest.raises(RemoteAccessError):
        remote.fork(remote.select(MODEL).checkpoint, DESTINATION)
    proxy.heal()
    proxy.forget()

    forked = remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    assert forked.copied_bytes < pushed.manifest.size_bytes
    there.verify(remote.fetch(remote.select(DESTINATION).checkpoint, there).checkpoint)


def test_deleting_in_any_order_deletes_all_and_misses_nothing(objects: Objects):
    objects.create("one", b"1")
    objects.create("two", b"2")

    objects.delete_in_any_order(["one", "nothing", "two"])

    assert objects.all("") == []


def test_a_tree_of_many_models_asks_for_everything_once(proxy: FaultProxy, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    for step in (1, 2):
        remote.push(make(here, MODEL.at(step)))
    forks = [ModelRef("shop", f"fork-{number}") for number in range(5)]
    for fork in forks:
        remote.fork(remote.open_checkpoint(MODEL.at(1)), fork)
    proxy.forget()

    branches = read_tree(remote, remote.models(), whole=True)

    assert {branch.model: branch.steps for branch in branches} == {MODEL: (1, 2)} | dict.fromkeys(forks, (1,))
    assert [branch.model for branch in branches if branch.origin is None] == [MODEL]
    asked = Counter((request.path, request.query) for request in proxy.requests)
    assert set(asked.values()) == {1}
    # The projects, the models, and of each its steps, its pins, its history, what was set aside, and each manifest.
    assert len(asked) == 2 + 4 * (1 + len(forks)) + 2 + len(forks)


def test_a_model_that_cannot_be_listed_is_one_problem_of_a_tree(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore
):
    remote, other = Remote.open(moto_bucket), ModelRef("shop", "other")
    for model in (MODEL, other):
        remote.push(make(here, model.at(1)))
    proxy.fault(Answer(403, "AccessDenied"), when=lambda request: "other" in request.query, times=math.inf)

    branches = {branch.model: branch for branch in read_tree(remote, [MODEL, other])}

    assert branches[MODEL].steps == (1,)
    assert branches[MODEL].problem is None
    assert "permission is denied" in (branches[other].problem or "")


def test_a_pull_asks_once_where_there_is_neither_a_history_nor_a_signature(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(1)))
    proxy.forget()

    assert remote.fetch_history(there, MODEL) == 0

    assert len(proxy.requests) == 1
