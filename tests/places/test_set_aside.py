"""A rewind sets aside and never deletes, and everything comes back: on a disk, and in buckets that only know copies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from art.errors import ArtError, CheckpointNotFoundError, CorruptCheckpointError
from art.format import layout
from art.format.pick import Exact
from art.names import CheckpointRef, ModelRef
from art.ops.fork import ForkOutcome, ForkRequest, IfExists, fork
from art.ops.garbage import collect_garbage, find_garbage
from art.ops.place import place_of
from art.ops.rewind import restore, rewind
from art.ops.tree import read_tree
from art.ops.verify import verify
from art.remote.location import Patience
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from remote.making import put_foreign
from remote.proxy import Answer, DropAnswer, Fault, FaultProxy, any_request, is_method
from remote.servers import S3Server
from store.conftest import write_checkpoint, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
HURRIED = Patience(retries=0, timeout_s=2, silence_s=2)
Place = CheckpointStore | Remote
PLACES = ["disk", "file", "memory", "moto", pytest.param("ceph", marks=pytest.mark.root), "azurite"]


def open_place(name: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    match name:
        case "disk":
            return CheckpointStore(folder / "place")
        case "file":
            (folder / "bucket").mkdir()
            return Remote.open(f"file://{folder}/bucket")
        case "memory":
            return Remote.open("memory://")
        case "azurite":
            return Remote.open(f"az://{request.getfixturevalue('container')}/runs")
        case server:
            return Remote.open(f"s3://{request.getfixturevalue(f'{server}_bucket')}/runs")


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    """Where what a bucket holds was trained."""
    return CheckpointStore(tmp_path / "here")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, here: CheckpointStore) -> Place:
    """A model with steps 1 to 4, in each kind of place."""
    place = open_place(request.param, request, tmp_path)
    fill(place, here, 1, 2, 3, 4)
    return place


def fill(place: Place, here: CheckpointStore, *steps: int, model: ModelRef = MAIN) -> None:
    if isinstance(place, CheckpointStore):
        write_run(place, model, *steps)
    else:
        for checkpoint in write_run(here, model, *steps):
            place.push(checkpoint)


def digests(place: Place, model: ModelRef = MAIN) -> dict[int, str | None]:
    return {step: place_of(place).open(model.at(step)).digest for step in place.steps(model)}


def is_sound(place: Place) -> bool:
    return not any(report.is_wrong for report in verify(place, place.models()))


def test_a_rewind_makes_an_earlier_step_the_newest_and_is_undone(place: Place):
    before = digests(place)

    gone_back = rewind(place, MAIN.at(2))
    shorter, aside = digests(place), place_of(place).set_aside(MAIN)
    undone = restore(place, MAIN)

    assert (gone_back.ref, gone_back.steps) == (MAIN.at(2), (3, 4))
    assert shorter == {step: before[step] for step in (1, 2)}
    assert [(each.id, each.steps, each.kept) for each in aside] == [(1, (3, 4), 2)]
    assert (undone.ref, undone.steps) == (MAIN.at(4), (3, 4))
    assert digests(place) == before
    assert is_sound(place)
    assert place_of(place).set_aside(MAIN) == []


def test_a_rewind_to_the_newest_changes_nothing(place: Place):
    before = digests(place)

    assert rewind(place, MAIN.at(4)).moved is None
    assert digests(place) == before


def test_a_run_goes_on_from_where_it_was_rewound_to(place: Place, here: CheckpointStore, tmp_path: Path):
    rewind(place, MAIN.at(2))
    trained = place if isinstance(place, CheckpointStore) else CheckpointStore(tmp_path / "again")
    other = write_checkpoint(trained, MAIN, 3, reward=0.9)
    if isinstance(place, Remote):
        place.push(other)

    undone = restore(place, MAIN)

    assert undone.steps == (3, 4)
    assert digests(place)[3] != other.digest
    assert [each.steps for each in place_of(place).set_aside(MAIN)] == [(3,)]
    assert restore(place, MAIN).steps == (3,)
    assert digests(place)[3] == other.digest
    assert is_sound(place)


def test_a_fork_onto_itself_is_a_rewind(place: Place):
    report = fork(ForkRequest(source=place, source_model=MAIN, pick=Exact(2), destination=place, model=MAIN))

    assert (report.outcome, report.step) == (ForkOutcome.REWOUND, 2)
    assert report.set_aside is not None
    assert report.set_aside.steps == (3, 4)


def test_an_overwriting_fork_sets_everything_aside(place: Place, here: CheckpointStore):
    fill(place, here, 3, 7, model=BRANCH)
    before = digests(place, BRANCH)
    request = ForkRequest(
        source=place,
        source_model=MAIN,
        pick=Exact(3),
        destination=place,
        model=BRANCH,
        if_exists=IfExists.OVERWRITE,
    )

    report, again = fork(request), fork(request)

    assert (report.outcome, again.outcome) == (ForkOutcome.FORKED, ForkOutcome.REPEATED)
    assert report.set_aside is not None
    assert (report.set_aside.steps, place.steps(BRANCH)) == ((3, 7), [3])
    restore(place, BRANCH)
    assert digests(place, BRANCH) == before
    assert is_sound(place)


def test_the_tree_shows_what_was_set_aside(place: Place):
    rewind(place, MAIN.at(1))

    (branch,) = read_tree(place, [MAIN])

    assert branch.steps == (1,)
    assert [each.steps for each in branch.set_aside] == [(2, 3, 4)]


@pytest.mark.parametrize("aside_id", [None, 3])
def test_what_was_not_set_aside_is_not_brought_back(place: Place, aside_id: int | None):
    with pytest.raises(CheckpointNotFoundError, match="set aside"):
        restore(place, MAIN, aside_id)


def test_a_checkpoint_of_another_program_is_set_aside_too(moto: S3Server, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(f"s3://{moto_bucket}")
    for checkpoint in write_run(here, MAIN, 1):
        remote.push(checkpoint)
    put_foreign(moto.client(), moto_bucket, "", MAIN.at(2))

    rewind(remote, MAIN.at(1))
    shorter, again = remote.steps(MAIN), restore(remote, MAIN)

    assert (shorter, again.steps, remote.steps(MAIN)) == ([1], (2,), [1, 2])
    assert remote.open_checkpoint(MAIN.at(2)).is_foreign


def test_a_strangers_record_deletes_nothing(tmp_path: Path, here: CheckpointStore):
    remote = open_file(tmp_path)
    fill(remote, here, 1, 2)
    shelf = tmp_path / "bucket/shop/models/agent-1/set_aside/0001"
    shelf.mkdir(parents=True)
    record = '{"id": 1, "time": "2026-01-01T00:00:00.000Z", "reason": "", "kept": 1, "moves": [["%s", "%s"]]}'
    before = digests(remote)
    for move in (("shop/models/other/checkpoints/0001", "x"), ("shop/models/agent-1/checkpoints/0002", "elsewhere")):
        for name in ("record.json", "journal.json"):
            (shelf / name).write_text(record % move)

        with pytest.raises(CorruptCheckpointError):
            rewind(remote, MAIN.at(1))

    assert digests(remote) == before


def test_a_copy_that_is_not_whole_keeps_its_original(tmp_path: Path, here: CheckpointStore):
    remote = open_file(tmp_path)
    fill(remote, here, 1, 2)
    rewind(remote, MAIN.at(1))
    fill_again = CheckpointStore(tmp_path / "here")
    remote.push(fill_again.open(MAIN.at(2)))
    shelf = tmp_path / "bucket/shop/models/agent-1/set_aside/0001"
    (shelf / "0002/optimizer.safetensors").unlink()
    (shelf / "journal.json").write_bytes((shelf / "record.json").read_bytes())

    with pytest.raises(CorruptCheckpointError, match="nothing is lost"):
        rewind(remote, MAIN.at(1))

    assert remote.steps(MAIN) == [1, 2]
    assert is_sound(remote)


def test_what_a_broken_rewind_left_is_collected_after_a_day(tmp_path: Path, here: CheckpointStore):
    remote = open_file(tmp_path)
    fill(remote, here, 1, 2)
    shelf = tmp_path / "bucket/shop/models/agent-1/set_aside/0001"
    (shelf / "0002").mkdir(parents=True)
    left = [shelf / "journal.json", shelf / "0002/trainer.json"]
    for path in left:
        path.write_text("{}")

    young = find_garbage(remote).debris
    for path in left:
        os.utime(path, (0, 0))
    listed, deleted = find_garbage(remote), collect_garbage(remote)

    assert young == ()
    assert [folder.freed_bytes for folder in listed.debris] == [4]
    assert deleted == listed
    assert not any(path.exists() for path in left)
    assert remote.steps(MAIN) == [1, 2]


def test_what_bringing_back_left_is_collected_after_a_day(tmp_path: Path, here: CheckpointStore):
    remote = open_file(tmp_path)
    fill(remote, here, 1, 2, 3)
    rewind_to_1(remote)
    shelf = tmp_path / "bucket/shop/models/agent-1/set_aside/0001"
    left = (shelf / "0002/trainer.json").read_bytes()
    restore_all(remote)
    rewind(remote, MAIN.at(2))
    # Killed while it deleted what is back in its place.
    (shelf / "0002").mkdir(exist_ok=True)
    (shelf / "0002/trainer.json").write_bytes(left)

    young = find_garbage(remote).debris
    os.utime(shelf / "0002/trainer.json", (0, 0))
    listed, deleted = find_garbage(remote), collect_garbage(remote)

    assert young == ()
    assert [folder.freed_bytes for folder in listed.debris] == [len(left)]
    assert deleted == listed
    assert not (shelf / "0002/trainer.json").exists()
    assert [aside.steps for aside in remote.set_aside(MAIN)] == [(3,)]


@pytest.mark.parametrize("begins", ["push", "fork", "overwriting fork"])
def test_what_a_killed_rewind_left_of_a_step_is_in_nobodys_way(begins: str, tmp_path: Path, here: CheckpointStore):
    remote = open_file(tmp_path)
    fill(remote, here, 1, 2)
    fill(remote, here, 2, model=BRANCH)
    taken = tmp_path / "bucket/shop/models/agent-1"
    claim = (taken / "claims/0002.json").read_bytes()
    rewind_to_1(remote)
    # Killed before its last two requests.
    (taken / "claims/0002.json").write_bytes(claim)
    (taken / "set_aside/0001/journal.json").write_bytes((taken / "set_aside/0001/record.json").read_bytes())

    if begins == "push":
        remote.push(write_checkpoint(CheckpointStore(tmp_path / "again"), MAIN, 2, reward=0.9))
    else:
        if begins == "fork":
            remote.delete(MAIN.at(1))
        wish = IfExists.OVERWRITE if begins == "overwriting fork" else IfExists.REFUSE
        fork(ForkRequest(source=remote, source_model=BRANCH, destination=remote, model=MAIN, if_exists=wish))

    assert remote.steps(MAIN)[-1] == 2
    assert (2,) in [aside.steps for aside in remote.set_aside(MAIN)]
    assert not (taken / "set_aside/0001/journal.json").exists()
    assert is_sound(remote)


@pytest.mark.parametrize(
    ("name", "left", "writes"),
    [
        *itertools.product(["memory"], ["everything", "a claim", "nothing"], ["push", "push between buckets", "fork"]),
        ("file", "everything", "push"),
        ("moto", "nothing", "push"),
    ],
)
def test_what_is_written_outlasts_a_rewind_that_was_killed(
    request: pytest.FixtureRequest, tmp_path: Path, here: CheckpointStore, name: str, left: str, writes: str
):
    remote = open_place(name, request, tmp_path)
    assert isinstance(remote, Remote)
    fill(remote, here, 1, 2)
    again = ForkRequest(source=remote, source_model=MAIN, destination=remote, model=BRANCH)
    fork(again)
    model = BRANCH if writes == "fork" else MAIN
    leave_half_set_aside(Remote(remote._objects), model.at(2), left)

    if writes == "fork":
        fork(again)
    elif writes == "push":
        remote.push(here.open(MAIN.at(2)))
    else:
        other = Remote.open("memory://")
        other.push(here.open(MAIN.at(2)))
        remote.push_from(other, other.open_checkpoint(MAIN.at(2)))
    collect_garbage(remote)

    assert remote.steps(model)[-1] == 2
    assert is_sound(remote)


def leave_half_set_aside(remote: Remote, ref: CheckpointRef, left: str) -> None:
    """Set a step aside as one who is killed once the record is written: what is left in its place is told."""
    objects, claim, key = remote._objects, str(layout.claim_path(ref)), str(layout.checkpoint_path(ref))
    contents = {item.key: objects.read(item.key) for item in objects.all(key)} | {claim: objects.read(claim)}
    clear = remote.overwriting_receiver(ref).clear
    assert clear is not None
    if ref.model == MAIN:
        rewind_to_1(remote)
    else:
        clear("replaced by a fork at 2")
    for path, content in contents.items():
        if left == "everything" or (left == "a claim" and path == claim):
            objects.create(path, content)
    shelf = f"{layout.model_path(ref.model)}/{layout.SET_ASIDE}/0001"
    objects.create(f"{shelf}/{layout.JOURNAL}", objects.read(f"{shelf}/{layout.RECORD}"))


def open_file(folder: Path) -> Remote:
    (folder / "bucket").mkdir()
    return Remote.open(f"file://{folder}/bucket")


def held_anywhere(remote: Remote) -> set[int]:
    """The steps that are whole, in their place or set aside."""
    return {*remote.steps(MAIN), *(step for aside in remote.set_aside(MAIN) for step in aside.steps)}


def rewind_to_1(remote: Remote) -> None:
    rewind(remote, MAIN.at(1))


def restore_all(remote: Remote) -> None:
    restore(remote, MAIN)


def finish(act: Callable[[Remote], object], remote: Remote) -> None:
    """Ask for the same again; of what was finished already there is nothing left to bring back."""
    if act is rewind_to_1 or remote.set_aside(MAIN):
        act(remote)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Answer(503, "SlowDown"), id="refused", marks=pytest.mark.long),
        pytest.param(DropAnswer(), id="lost"),
    ],
)
@pytest.mark.parametrize("act", [rewind_to_1, restore_all], ids=["rewind", "restore"])
def test_what_breaks_off_at_any_request_loses_nothing_and_is_finished(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, fault: Fault, act: Callable[[Remote], object]
):
    pushed = write_run(here, MAIN, 1, 2)
    number, hits = 0, 1
    while hits:
        where = f"s3://{moto_bucket}/{number}"
        remote, hurried = Remote.open(where), Remote.open(where, patience=HURRIED)
        for checkpoint in pushed:
            remote.push(checkpoint)
        if act is restore_all:
            rewind_to_1(remote)
        changes = is_method("PUT", "DELETE", "POST") if isinstance(fault, DropAnswer) else any_request
        rule = proxy.fault(fault, when=changes, skip=number)
        with suppress(ArtError):
            act(hurried)
        proxy.heal()
        assert held_anywhere(remote) == {1, 2}, number

        finish(act, remote)

        assert remote.steps(MAIN) == ([1] if act is rewind_to_1 else [1, 2]), number
        assert [each.steps for each in remote.set_aside(MAIN)] == ([(2,)] if act is rewind_to_1 else []), number
        assert is_sound(remote), number
        if act is rewind_to_1:
            restore_all(remote)
        assert digests(remote) == {checkpoint.ref.step: checkpoint.digest for checkpoint in pushed}, number
        number, hits = number + 1, rule.hits
    assert number > 8
