"""Every command of the program, in every kind of place: it does there what it does on a disk, or refuses the place.

None takes what lies on this disk instead: beside each bucket lies a root that has other models under the same names.
"""

from __future__ import annotations

import json
import shutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from art.cli.group import COMMANDS
from art.format import layout
from art.names import ModelRef
from art.store.store import CheckpointStore
from cli.conftest import BRANCH, MAIN, Art
from remote.hub_server import Repository, hub
from remote.making import CONFIG, safetensors
from store.conftest import tree, write_checkpoint

BROKEN = ModelRef("shop", "broken")
ADAPTER = ModelRef("org", "adapter")
HERE = str(Path(__file__))
"""Some file, for an option that wants one."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a command does about a place. A call is asked in words; `{at}` stands before a model, `{in}` is a place."""

    same: tuple[str, ...] = ()
    """One after another, in each place: exit status and document are those of a disk."""
    among_buckets: tuple[str, ...] = ()
    """What is asked of buckets alone: it is the same in all of them."""
    refused: tuple[str, ...] = ()
    """Refused wherever it does not lie on this disk, and the way to bring it here is named."""
    on_a_hub: tuple[str, ...] = ()
    """The same as for a folder of this disk that another program wrote."""
    read_only: tuple[str, ...] = ()
    """Refused for a repository of the Hub, because that is only read."""
    paths: tuple[str, ...] = ()
    """Calls with a URL where a path of this disk belongs."""


PLACELESS = Entry()
"""A command that names no model."""

ENTRIES = {
    "log": Entry(
        same=(
            "log {in}",
            "log {in} --project shop",
            "log {in} --project nobody",
            "log {in} --metric train/reward",
            "log {in} --metric val/nothing",
            "log {at}shop",
            "log {at}shop/agent-2",
            "log {at}shop/nobody",
        ),
        on_a_hub=("log {hub}",),
    ),
    "show": Entry(
        same=(
            "show {at}shop/agent-1",
            "show {at}shop/agent-2@100",
            "show {at}shop/agent-1@51",
            "show {at}shop/nobody",
        ),
        refused=("show {at}shop/agent-1 --rollouts",),
        on_a_hub=("show {hub}",),
    ),
    "status": PLACELESS,
    "suggest": Entry(refused=("suggest {at}shop/agent-1",)),
    "diff": Entry(
        refused=(
            "diff {at}shop/agent-1@50 shop/agent-1@7",
            "diff shop/agent-1@7 {at}shop/agent-1@50",
            "diff --paired {at}shop/agent-1 shop/agent-1",
        )
    ),
    "serve": Entry(refused=("serve {at}shop/agent-1",)),
    "chat": Entry(refused=("chat {at}shop/agent-1 -p hello",)),
    "ui": Entry(paths=("ui --export {url}/page.html",)),
    "mcp": PLACELESS,
    "verify": Entry(
        same=(
            "verify {in}",
            "verify {in} --project nobody",
            "verify {at}shop/agent-1",
            "verify {at}shop/agent-1@100",
            "verify {at}shop/broken@1",
            "verify {at}shop/agent-1@51",
            "verify {at}shop/nobody",
        ),
        refused=("verify --continuation {at}shop/agent-1",),
        on_a_hub=("verify {hub}",),
        read_only=(
            "verify --repair {hub}",
            "verify --repair --from {hub}",
            f"verify --signature --key {HERE} {{hub}}",
        ),
        paths=("verify --signature --key {url}/key",),
    ),
    "replay": Entry(refused=("replay {at}shop/agent-1@100",)),
    "data": Entry(same=("data {at}shop/agent-1", "data {at}shop/agent-2@100", "data {at}shop/nobody")),
    "sign": Entry(
        same=(
            f"sign --key {HERE} {{at}}shop/agent-1",
            f"sign --key {HERE} {{at}}shop/agent-1@51",
            f"verify --signature --key {HERE} {{at}}shop/agent-1",
        ),
        read_only=(f"sign --key {HERE} {{hub}}",),
        paths=("sign --key {url}/key shop/agent-1",),
    ),
    "fork": Entry(
        same=(
            "fork {at}shop/agent-1@100 {at}shop/fresh",
            "fork {at}shop/agent-1@100 {at}shop/fresh",
            "fork {at}shop/agent-1@50 {at}shop/fresh",
            "fork {at}shop/agent-1@51 {at}shop/other",
            "fork {at}shop/nobody {at}shop/other",
            "fork {at}shop/agent-1 {at}shop/newest",
            "fork {at}shop/agent-1 {at}shop/limited --not-after 120",
            "fork {at}shop/agent-1 {at}shop/best --best train/reward",
            "fork {at}shop/agent-1 {at}shop/lowest --best train/reward --mode min",
            "fork {at}shop/agent-1 {at}shop/other --best val/nothing",
            "fork {at}shop/agent-2 {at}shop/fresh --overwrite --reset optimizer --reset random",
            "fork {at}shop/agent-1 {at}shop/other --reset adapter",
            "fork {at}shop/agent-1 {at}shop/agent-2 --continue-if-exists",
            "fork {at}shop/agent-1 {at}shop/agent-1 --not-after 60",
            "fork {at}shop/agent-1 {at}shop/other@3",
        ),
        on_a_hub=("fork {hub} shop/theirs",),
        read_only=("fork shop/agent-1 {hub}",),
    ),
    "sweep": Entry(
        refused=(f"sweep {{at}}shop/agent-1 --script {HERE} --set learning_rate=1",),
        paths=("sweep shop/agent-1 --set x=1 --script {url}/a.py", f"sweep m --set x=1 --script {HERE} --logs {{url}}"),
    ),
    "merge": Entry(
        refused=(
            "merge {at}shop/agent-1 shop/agent-1 --into fresh",
            "merge shop/agent-1 {at}shop/agent-1 --into fresh",
            "merge shop/agent-1 shop/agent-1 --into {at}shop/fresh",
        )
    ),
    "rewind": Entry(
        same=(
            "rewind {at}shop/agent-1@100",
            "rewind {at}shop/agent-1@150",
            "fork {at}shop/agent-1 {at}shop/shorter",
            "rewind {at}shop/agent-1@51",
            "rewind {at}shop/agent-1",
            "rewind --undo {at}shop/agent-1@50",
            "rewind --undo {at}shop/agent-1 --id 7",
            "rewind --undo {at}shop/agent-1",
            "rewind --undo {at}shop/agent-1",
            "rewind --undo {at}shop/nobody",
            "rewind {at}shop/agent-1@150",
        ),
        read_only=("rewind {hub}@0",),
    ),
    "rm": Entry(
        same=(
            "rm {at}shop/agent-1 --keep-last 1 --dry-run",
            "rm {at}shop/agent-1@50..100 --keep-best train/reward -n",
            "rm {at}shop/agent-1 --keep-best val/nothing --yes",
            "rm {at}shop/agent-1",
            "rm {at}shop/agent-1@51 --yes",
            "rm {at}shop/nobody --yes",
            "rm {at}shop/agent-1@..60 {at}shop/agent-2@150 --yes",
            "rm {at}shop/agent-1@50 --yes",
            "rm {at}shop/agent-1 --yes",
            "log {at}shop/agent-1",
            "fork {at}shop/agent-1 {at}shop/shorter",
        ),
        read_only=("rm {hub} --yes",),
    ),
    "gc": Entry(
        same=(
            "gc {in} --dry-run",
            "gc {in}",
            "gc {at}shop/agent-1",
            "gc {in} --keep newest:1 --plan",
            "gc {in} --keep newest:1 --project nobody --plan",
            "gc {at}shop/agent-1@50 --keep newest:1",
            "gc {at}shop/nobody --keep newest:1",
            "gc {at}shop/agent-1 --keep newest:1",
            "gc {at}shop/agent-1 --keep newest:1,forks --yes",
        ),
        read_only=("gc {hub}", "gc {hub} --dry-run", "gc {hub} --keep newest:1"),
    ),
    "pin": Entry(
        same=("pin {at}shop/agent-1@50", "pin {at}shop/agent-1", "pin {at}shop/agent-1@51", "log {at}shop"),
        read_only=("pin {hub}@0",),
    ),
    "unpin": Entry(
        same=("pin {at}shop/agent-1@50", "unpin {at}shop/agent-1@50", "unpin {at}shop/agent-1@51", "log {at}shop"),
        read_only=("unpin {hub}@0",),
    ),
    "push": Entry(
        among_buckets=(
            "push shop/agent-1 {url}",
            "push shop/agent-1@7 {url}",
            "push shop/agent-1 {url}::shop/other",
            "push {at}shop/agent-1 {url}",
            "push {at}shop/agent-1@50 {url}",
            "push {at}shop/nobody {url}",
        ),
        read_only=("push shop/agent-1 {hub}", "push {hub} s3://bucket"),
    ),
    "pull": Entry(
        among_buckets=(
            "pull {at}shop/agent-2@100",
            "pull {at}shop/agent-2",
            "pull {at}shop/agent-1@50",
            "pull {at}shop/agent-2@51",
            "pull {at}shop/nobody",
            "pull shop/agent-2",
            "pull {url}",
        ),
        read_only=("pull {hub}",),
    ),
    "export": Entry(
        refused=("export {at}shop/agent-1 out", "export {at}shop/agent-1 --to jsonl"),
        paths=("export shop/agent-1 {url}",),
    ),
    "commit": Entry(refused=("commit . {at}shop/theirs@1",), paths=("commit {url} shop/theirs@1",)),
    "checkout": Entry(refused=("checkout {at}shop/agent-1 out",), paths=("checkout shop/agent-1 {url}",)),
    "watch": Entry(refused=("watch . {at}shop/theirs",), paths=("watch {url} shop/theirs",)),
    "certify": Entry(paths=("certify true --at 1 --end 2 --work {url}",)),
    "plan": PLACELESS,
}

DIFFERING = {
    "root": "which place was read",
    "path": "where it lies on this disk",
    "url": "where it lies in a bucket",
    "from": "where the source lies",
    "to": "where the fork lies",
    "seconds": "",
    "time": "",
    "hard_links": "a bucket has none",
    "freed_bytes": "blocks of a disk",
    **dict.fromkeys(("shared_bytes", "copied_bytes", "fetched_bytes", "sent_bytes"), "how bytes travel"),
}
"""Fields that say where something lies, when it was, or what it cost there."""
UNKNOWN_THERE = {**DIFFERING, "created_at": "nobody wrote it down", "files": "and no digest", "reused_bytes": ""}


@dataclass(frozen=True)
class Place:
    """Where a call is asked: a disk, or what a URL names."""

    root: Path
    url: str | None = None

    def words(self, call: str) -> list[str]:
        at = f"{self.url}::" if self.url else ""
        return [
            word.format(**{"at": at, "in": self.url or "", "url": self.url})
            for word in call.split()
            if word != "{in}" or self.url
        ]


@pytest.fixture
def disk(store: CheckpointStore) -> Place:
    write_checkpoint(store, BROKEN, 1)
    return Place(store.root)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A root that has other models under the same names."""
    elsewhere = CheckpointStore(tmp_path / "elsewhere")
    for model in (MAIN, BRANCH, BROKEN):
        write_checkpoint(elsewhere, model, 7)
    return elsewhere.root


@pytest.fixture(params=["file", "moto"])
def bucket(
    request: pytest.FixtureRequest,
    art: Art,
    disk: Place,
    elsewhere: Path,
    tmp_path: Path,
) -> Place:
    """Each kind of bucket, with what the disk has; one file is altered in both."""
    is_file = request.param == "file"
    place = Place(elsewhere, new_bucket(tmp_path) if is_file else f"s3://{request.getfixturevalue('moto_bucket')}")
    fill(art, disk, place)
    altered = f"{layout.checkpoint_path(BROKEN.at(1))}/{layout.OPTIMIZER}"
    content = (disk.root / altered).read_bytes()[:-1] + b"x"
    replace(disk.root / altered, content)
    if is_file:
        replace(tmp_path / "bucket" / altered, content)
    else:
        bucket = request.getfixturevalue("moto_bucket")
        request.getfixturevalue("moto").client().put_object(Bucket=bucket, Key=altered, Body=content)
    return place


def new_bucket(folder: Path) -> str:
    (folder / "bucket").mkdir()
    return f"file://{folder}/bucket"


def fill(art: Art, disk: Place, bucket: Place) -> None:
    for model in (MAIN, BRANCH, BROKEN):
        assert art("push", str(model), bucket.url, root=disk.root).returncode == 0


def replace(path: Path, content: bytes) -> None:
    """Write a file anew: a fork may share the one that is there."""
    path.unlink()
    path.write_bytes(content)


def those_with(field: str) -> list[str]:
    return [name for name, entry in ENTRIES.items() if getattr(entry, field)]


def test_every_command_has_an_entry():
    assert set(ENTRIES) == set(COMMANDS)


@pytest.mark.parametrize("command", those_with("same"))
def test_a_command_does_in_a_bucket_what_it_does_on_a_disk(
    art: Art,
    disk: Place,
    bucket: Place,
    command: str,
):
    before = tree(bucket.root)

    for call in ENTRIES[command].same:
        on_disk, there = (asked(art, place, call) for place in (disk, bucket))

        assert there == on_disk, call
    assert tree(bucket.root) == before


@pytest.mark.parametrize("command", those_with("among_buckets"))
def test_what_only_buckets_know_is_the_same_in_each(
    art: Art,
    disk: Place,
    elsewhere: Path,
    moto_bucket: str,
    tmp_path: Path,
    command: str,
):
    copy = Path(shutil.copytree(elsewhere, tmp_path / "copy"))
    folder, server = Place(elsewhere, new_bucket(tmp_path)), Place(copy, f"s3://{moto_bucket}/runs")
    for place in (folder, server):
        fill(art, disk, place)

    for call in ENTRIES[command].among_buckets:
        assert asked(art, folder, call) == asked(art, server, call), call

    assert tree(elsewhere) == tree(copy)


@pytest.mark.parametrize("url", ["s3://bucket/runs", "file:///runs", "hf://org/adapter"])
@pytest.mark.parametrize("command", those_with("refused"))
def test_a_command_for_this_disk_refuses_a_place_and_says_how_to_bring_it(
    art: Art,
    elsewhere: Path,
    command: str,
    url: str,
):
    before = tree(elsewhere)

    for call in ENTRIES[command].refused:
        words = Place(elsewhere, url).words(call)
        refused = art(*(url if url.startswith("hf:") and url in word else word for word in words), root=elsewhere)

        assert refused.returncode == 2, call
        assert "art fork hf://org/adapter" in refused.stderr or f"art pull {url}::shop/" in refused.stderr, call
    assert tree(elsewhere) == before


@pytest.mark.parametrize("command", those_with("read_only"))
def test_a_command_that_changes_refuses_a_repository_of_the_hub(
    art: Art,
    disk: Place,
    command: str,
):
    before = tree(disk.root)

    for call in ENTRIES[command].read_only:
        refused = art(*call.format(hub="hf://org/adapter").split(), root=disk.root)

        assert refused.returncode in (1, 2), call
        assert "is read" in " ".join(refused.stderr.split()), call
    assert tree(disk.root) == before


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An adapter on the Hub; gives a root that has it too, as another program wrote it."""
    files = {layout.ADAPTER_CONFIG: json.dumps(CONFIG).encode(), layout.ADAPTER_WEIGHTS: safetensors(1000, 1)}
    folder = tmp_path / "theirs" / layout.checkpoint_path(ADAPTER.at(0))
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub({str(ADAPTER): Repository(files)}) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        yield tmp_path / "theirs"
        close_session()


@pytest.mark.parametrize("command", those_with("on_a_hub"))
def test_a_command_reads_a_repository_of_the_hub_as_a_folder_of_another_program(
    art: Art,
    elsewhere: Path,
    adapter: Path,
    command: str,
):
    for call in ENTRIES[command].on_a_hub:
        is_tree = command == "log"
        there = art(*call.format(hub=f"hf://{ADAPTER}").split(), "--json", root=elsewhere)
        on_disk = art(*call.format(hub="" if is_tree else ADAPTER).split(), "--json", root=adapter)

        assert (there.returncode, on_disk.returncode) == (0, 0), call
        assert comparable(there.stdout, UNKNOWN_THERE) == comparable(on_disk.stdout, UNKNOWN_THERE), call


@pytest.mark.parametrize("url", ["s3://bucket/runs", "file:///runs", "hf://org/adapter"])
def test_a_url_is_no_root(
    art: Art,
    tmp_path: Path,
    url: str,
):
    before = sorted(tmp_path.iterdir())

    for command in COMMANDS:
        for refused in (art("--root", url, command, root=None), art(command, root=Path(url))):
            assert refused.returncode == 2, command
            assert "is a URL, where a path on this disk belongs" in " ".join(refused.stderr.split()), command
    assert sorted(tmp_path.iterdir()) == before


def test_every_command_that_takes_a_path_has_a_call_with_a_url():
    hints = {name: typing.get_type_hints(function_of(name)) for name in COMMANDS}
    with_paths = {
        name
        for name, kinds in hints.items()
        if any(Path in (kind, *typing.get_args(kind)) for hint, kind in kinds.items() if hint != "root")
    }

    assert with_paths == set(those_with("paths"))


def function_of(command: str) -> Any:
    module, _, function = COMMANDS[command].function.partition(".")
    return getattr(import_module(f"art.cli.commands.{module}"), function)


@pytest.mark.parametrize("command", those_with("paths"))
def test_a_url_is_no_path(
    art: Art,
    disk: Place,
    tmp_path: Path,
    command: str,
):
    before = sorted(tmp_path.rglob("*"))

    for call in ENTRIES[command].paths:
        refused = art(*Place(disk.root, "s3://bucket/runs").words(call), root=disk.root)

        assert refused.returncode == 2, call
    assert sorted(tmp_path.rglob("*")) == before


def asked(art: Art, place: Place, call: str) -> tuple[int, Any, bool]:
    """Ask, and give the exit status, the document and whether there were complaints."""
    done = art(*place.words(call), "--json", root=place.root)
    assert "Traceback" not in done.stderr, call
    return done.returncode, comparable(done.stdout), bool(done.stderr)


def comparable(printed: str, differing: typing.Container[str] = DIFFERING) -> Any:
    return _without(json.loads(printed), differing) if printed else None


def _without(value: Any, fields: typing.Container[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, fields) for item in value]
    if isinstance(value, dict):
        return {name: _without(item, fields) for name, item in value.items() if name not in fields}
    return value
