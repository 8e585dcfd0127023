"""Files that are not what they seem: pipes, links, sockets, folders, endless ones, and documents that are no documents.

Each takes the place of every file that a store reads. Nothing hangs, nothing outside is touched, the error names the
file, and the other steps and models stay usable.
"""

import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from art.errors import (
    ArtError,
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    FormatVersionError,
    StorageError,
)
from art.format.pick import AtMost
from art.names import ModelRef
from art.ops.garbage import collect_garbage
from art.ops.tree import read_tree
from art.ops.verify import verify
from art.store import journal
from art.store.history import HistoryStore
from art.store.liveness import Beacon, find_run
from art.store.store import CheckpointStore

from .conftest import adapter_config, safetensors, tree, write_checkpoint, write_foreign, write_run

MODEL = "shop/models/agent-1"
STEP = f"{MODEL}/checkpoints/0002"
Put = Callable[[Path, Path], None]
"""Puts something in a path's place; the second path is a folder outside the root."""


def link(path: Path, outside: Path) -> None:
    target = outside / path.name
    target.write_bytes(b"private")
    path.symlink_to(target)


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the address of a socket is short
        server.bind(path.name)
    os.chdir("/")


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def endless(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


NO_FILES = [link, link_to_itself, pipe, bound_socket, folder]


def replaced(path: Path, put: Put, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    if path.exists():
        path.unlink()
    put(path, outside)


def assert_others_are_usable(store: CheckpointStore) -> None:
    main, other = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
    assert store.models() == [main, other]
    assert store.open(main.at(1)).ref.step == 1
    assert store.select(main, AtMost(1)).checkpoint.ref.step == 1
    assert store.select(other).checkpoint.ref.step == 1
    assert {branch.model for branch in read_tree(store, store.models())} == {main, other}
    reports = {report.name: report for report in verify(store, store.models(), progress=lambda *_: None)}
    assert not reports["shop/agent-1@1"].is_wrong
    assert not reports["shop/agent-2@1"].is_wrong
    assert not collect_garbage(store).problems


@pytest.fixture
def two(store: CheckpointStore, main: ModelRef) -> CheckpointStore:
    write_run(store, main, 1, 2)
    write_checkpoint(store, ModelRef("shop", "agent-2"), 1)
    return store


@pytest.mark.parametrize("put", [*NO_FILES, endless])
@pytest.mark.parametrize("name", ["checkpoint.json", "adapter_model.safetensors", "trainer.json"])
def test_what_is_no_regular_file_is_refused_by_name(
    two: CheckpointStore, main: ModelRef, tmp_path: Path, put: Put, name: str
):
    second = two.open(main.at(2))
    path = two.root / STEP / name
    replaced(path, put, tmp_path)
    before = tree(tmp_path / "outside")

    for use in (
        lambda: two.open(main.at(2)),
        lambda: two.select(main),
        lambda: two.verify(second),
        lambda: two.fork(second, ModelRef("shop", "fork")),
    ):
        with pytest.raises(CorruptCheckpointError, match=f"0002/{name}"):
            use()

    assert_others_are_usable(two)
    (report,) = verify(two, [main], step=2, progress=lambda *_: None)
    assert any(fault.file == name for fault in report.faults)
    assert tree(tmp_path / "outside") == before
    assert not (two.root / "shop/models/fork").exists()


@pytest.mark.parametrize("put", NO_FILES)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_foreign_checkpoint_of_anything_but_files_is_passed_over(
    two: CheckpointStore, main: ModelRef, tmp_path: Path, put: Put, name: str
):
    foreign = write_foreign(two.root / MODEL / "checkpoints/0003")
    replaced(foreign / name, put, tmp_path)

    selection = two.select(main)

    assert selection.checkpoint.ref.step == 2
    assert name in selection.skipped[0].reason
    assert two.steps(main) == [1, 2]
    assert_others_are_usable(two)
    assert foreign.is_dir(), "it is another program's, and left alone"


def test_a_step_that_is_a_link_is_passed_over_and_left_alone(two: CheckpointStore, main: ModelRef, tmp_path: Path):
    outside = tmp_path / "outside"
    shutil.copytree(two.root / STEP, outside / "0003")
    (two.root / MODEL / "checkpoints/0003").symlink_to(outside / "0003")
    before = tree(outside)

    selection = two.select(main)

    assert selection.checkpoint.ref.step == 2
    assert "0003 is a symbolic link" in selection.skipped[0].reason
    assert two.steps(main) == [1, 2]
    assert two.unknown(main).keys() == {3}
    with pytest.raises(CheckpointNotFoundError, match="symbolic link"):
        two.open(main.at(3))
    assert_others_are_usable(two)
    assert tree(outside) == before


@pytest.mark.parametrize("name", ["checkpoints", "set_aside"])
def test_no_link_is_followed_inside_a_models_folder(two: CheckpointStore, main: ModelRef, tmp_path: Path, name: str):
    outside = tmp_path / "outside"
    shutil.copytree(two.root / MODEL / "checkpoints", outside / "0001")
    path = two.root / MODEL / name
    if path.exists():
        path.rename(outside / "moved")
    path.symlink_to(outside)
    before = tree(outside)

    with pytest.raises(CorruptCheckpointError, match=f"agent-1/{name} is a symbolic link"):
        two.rewind(two.open(main.at(1)))

    assert tree(outside) == before
    assert two.select(ModelRef("shop", "agent-2")).checkpoint.ref.step == 1


@pytest.mark.parametrize("put", NO_FILES)
def test_a_history_that_is_no_file_is_neither_read_nor_written(
    two: CheckpointStore, main: ModelRef, tmp_path: Path, put: Put
):
    history = HistoryStore(two.root)
    replaced(two.root / MODEL / "history.jsonl", put, tmp_path)
    before = tree(tmp_path / "outside")

    with pytest.raises(StorageError, match=r"history\.jsonl"):
        history.append(main, 1, split="train", metrics={"reward": 1.0})
    with pytest.raises(CorruptCheckpointError, match=r"history\.jsonl is a"):
        history.read(main)

    assert tree(tmp_path / "outside") == before
    assert_others_are_usable(two)


@pytest.mark.parametrize("place", ["trajectories", "trajectories/train", "trajectories/train/0001.jsonl"])
def test_trajectories_are_not_written_through_a_link(two: CheckpointStore, main: ModelRef, tmp_path: Path, place: str):
    outside = tmp_path / "outside"
    (outside / "train").mkdir(parents=True)
    (outside / "0001.jsonl").write_text("private")
    path = two.root / MODEL / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside / "0001.jsonl" if place.endswith("jsonl") else outside)
    before = tree(outside)

    with pytest.raises(ArtError, match="symbolic link"):
        HistoryStore(two.root).append_trajectories(main, 1, split="train", trajectories=["{}"])

    assert tree(outside) == before
    assert not (outside / "train/0001.jsonl").exists()


def test_a_staging_folder_that_is_a_link_is_neither_used_nor_emptied(
    two: CheckpointStore, main: ModelRef, tmp_path: Path
):
    outside = tmp_path / "outside"
    (outside / "documents").mkdir(parents=True)
    (outside / "documents/letter").write_text("private")
    if two.staging.exists():
        two.staging.rmdir()
    two.staging.symlink_to(outside)

    with pytest.raises(StorageError, match=r"\.staging: a symbolic link is in its place"):
        write_checkpoint(two, main, 3)

    assert collect_garbage(two).debris == ()
    assert tree(outside) == {"documents/letter": b"private"}


@pytest.mark.parametrize("link", ["shop/models/agent-3", "other/models", "other"])
@pytest.mark.parametrize("inside", ["Downloads", "models/Downloads", "checkpoints", "Downloads/set_aside"])
def test_nothing_behind_a_link_loses_an_empty_folder(two: CheckpointStore, tmp_path: Path, link: str, inside: str):
    home = tmp_path / "home"
    (home / inside).mkdir(parents=True)
    path = two.root / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(home)

    collect_garbage(two)

    assert (home / inside).is_dir()


@pytest.mark.parametrize("put", [*NO_FILES, endless])
@pytest.mark.parametrize("name", ["journal.json", "set_aside/0001/record.json"])
def test_a_journal_or_record_that_is_no_file_is_named(
    two: CheckpointStore, main: ModelRef, tmp_path: Path, put: Put, name: str
):
    path = two.root / MODEL / name
    path.parent.mkdir(parents=True, exist_ok=True)
    replaced(path, put, tmp_path)

    if name == "journal.json":
        with pytest.raises(CorruptCheckpointError, match=r"agent-1/journal\.json"):
            two.steps(main)
    else:
        (aside,) = two.set_aside(main)
        assert "0001/record.json" in (aside.problem or "")
        assert_others_are_usable(two)

    assert two.select(ModelRef("shop", "agent-2")).checkpoint.ref.step == 1


def set_aside_and_spoil(store: CheckpointStore, model: ModelRef) -> Path:
    """Set two steps aside, in turn, and spoil the record of the first."""
    _, second, _ = write_run(store, model, 1, 2, 3)
    store.rewind(second)
    store.rewind(store.open(model.at(1)))
    record = store.root / MODEL / "set_aside/0001/record.json"
    record.chmod(0o644)
    return record


def test_what_nobody_would_read_again_is_not_written(
    two: CheckpointStore, main: ModelRef, monkeypatch: pytest.MonkeyPatch
):
    before = tree(two.root)
    with pytest.raises(ConfigurationError, match=r"agent-1@3 with its 1 files cannot be described.*values"):
        write_adapter_with(two, main, settings={"x": [[]] * 600_000})
    monkeypatch.setattr(journal, "MAX_VALUES", 3)
    with pytest.raises(ConfigurationError, match=r"1 steps cannot be moved at once.*Nothing was moved"):
        two.rewind(two.open(main.at(1)))

    assert tree(two.root) == before


def write_adapter_with(store: CheckpointStore, model: ModelRef, **details: object) -> None:
    with store.stage(model.at(3)) as stage:
        (stage.path / "trainer.json").write_text("{}")
        stage.commit(parent=store.newest(model), **details)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"id": 1}', b"[" * 10_000, b'{"moves":[' + b'["a","b"],' * 350_000 + b'["a","b"]]}'],
    ids=["nothing", "half", "a list", "one field", "deep", "many"],
)
def test_a_record_that_is_damaged_does_not_hide_the_others(store: CheckpointStore, main: ModelRef, content: bytes):
    set_aside_and_spoil(store, main).write_bytes(content)

    first, second = store.set_aside(main)

    assert (first.id, first.steps) == (1, (3,))
    assert "set_aside/0001/record.json is not" in (first.problem or "") or "no JSON" in (first.problem or "")
    assert (second.id, second.steps, second.problem) == (2, (2,), None)
    with pytest.raises(CorruptCheckpointError, match=r"set aside as 1 cannot be brought back: .*record\.json"):
        store.restore(main, 1)
    assert store.restore(main).id == 2
    assert store.steps(main) == [1, 2]


def test_what_is_set_aside_next_is_not_mixed_with_a_damaged_record(store: CheckpointStore, main: ModelRef):
    write_run(store, main, 1, 2)
    (store.root / MODEL / "set_aside/0007/0009").mkdir(parents=True)

    aside = store.rewind(store.open(main.at(1)))

    assert aside is not None
    assert aside.id == 8


@pytest.mark.parametrize("moves", [[], [[f"{MODEL}/checkpoints/0002", f"{MODEL}/set_aside/0001/0002"]]])
def test_a_journal_overwrites_no_record(store: CheckpointStore, main: ModelRef, moves: list[list[str]]):
    set_aside_and_spoil(store, main)
    journal = {"id": 1, "time": "2026-01-01T00:00:00Z", "reason": "mine", "kept": 1, "moves": moves}
    (store.root / MODEL / "journal.json").write_text(json.dumps(journal))
    before = tree(store.root)

    with pytest.raises(CorruptCheckpointError, match=r"journal\.json has a number that .*0001/record\.json has"):
        store.steps(main)

    assert tree(store.root) == before


def test_a_journal_without_moves_is_not_filed_through_a_link(two: CheckpointStore, main: ModelRef, tmp_path: Path):
    outside = tmp_path / "outside"
    (outside / "0001").mkdir(parents=True)
    (two.root / MODEL / "set_aside").symlink_to(outside)
    journal = {"id": 1, "time": "2026-01-01T00:00:00Z", "reason": "", "kept": None, "moves": []}
    (two.root / MODEL / "journal.json").write_text(json.dumps(journal))

    with pytest.raises(CorruptCheckpointError, match="set_aside is a symbolic link"):
        two.steps(main)

    assert tree(outside) == {}


def with_fields(**fields: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | fields).encode()


def with_first_file(**fields: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        manifest = json.loads(content)
        manifest["files"][0] |= fields
        return json.dumps(manifest).encode()

    return change


def with_file_twice(content: bytes) -> bytes:
    manifest = json.loads(content)
    return json.dumps(manifest | {"files": [*manifest["files"], manifest["files"][0]]}).encode()


PARENT = {"project": "shop", "model": "agent-1", "step": 1, "digest": None, "remote": None}
DAMAGED_MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "deep": lambda _: b'{"format": 1, "x": ' + b"[" * 50_000,
    "deep where anything may stand": lambda content: content[:-3] + b', "environment": ' + b'{"a":' * 5000 + b"}",
    "more values than are looked at again and again": lambda content: (
        content[:-3] + b', "environment": {"x": [' + b"[]," * 600_000 + b"0]}}"
    ),
    "a step as text": with_fields(step="2"),
    "a step that is a fraction": with_fields(step=2.0),
    "a step that is true": with_fields(step=True),
    "a step of 5,000 digits": lambda content: content.replace(b'"step": 2', b'"step": ' + b"9" * 5000),
    "a step beyond all": with_fields(step=2**53),
    "NaN among the metrics": lambda content: content.replace(b"0.5", b"NaN"),
    "infinity among the metrics": lambda content: content.replace(b"0.5", b"1e999"),
    "a metric as text": with_fields(metrics={"reward": "0.5"}),
    "a lone surrogate": lambda content: content.replace(b'"tiny"', b'"\\ud800"'),
    "a time that is none": with_fields(created_at="yesterday"),
    "a time without a zone": with_fields(created_at="2026-01-01T00:00:00"),
    "a month too many": with_fields(created_at="2026-13-01T00:00:00Z"),
    "a rank of nothing": with_fields(lora={"rank": 0, "alpha": 16, "targets": "all-linear"}),
    "a rank of three million": with_fields(lora={"rank": 3_000_000, "alpha": 16, "targets": "all-linear"}),
    "a rank as text": with_fields(lora={"rank": "8", "alpha": 16, "targets": "all-linear"}),
    "a parent above the root": with_fields(parent=PARENT | {"project": "../.."}),
    "a parent without a digest's digits": with_fields(parent=PARENT | {"digest": "../x"}),
    "an ancestor above the root": with_fields(ancestry=[PARENT | {"model": "../x", "not_after": None, "reset": []}]),
    "a size as text": with_first_file(size_bytes="122"),
    "a size beyond all": with_first_file(size_bytes=10**30),
    "a size below nothing": with_first_file(size_bytes=-1),
    "a path up": with_first_file(path="../0001/adapter_config.json"),
    "an absolute path": with_first_file(path="/etc/passwd"),
    "a path that is the manifest": with_first_file(path="checkpoint.json"),
    "a path that is the manifest elsewhere": with_first_file(path="Checkpoint.json"),
    "a path with a line's end": with_first_file(path="a\nb"),
    "a path twice": with_file_twice,
    "a path twice where case does not count": with_first_file(path="TRAINER.json"),
    "a field twice": lambda content: content.replace(b'"step": 2', b'"step": 1, "step": 2'),
}  # fmt: skip


@pytest.mark.parametrize("change", DAMAGED_MANIFESTS.values(), ids=DAMAGED_MANIFESTS.keys())
def test_a_manifest_that_is_none_is_damage_and_names_the_file(
    two: CheckpointStore, main: ModelRef, change: Callable[[bytes], bytes]
):
    path = two.root / STEP / "checkpoint.json"
    rewrite(path, change(path.read_bytes()))

    with pytest.raises(CorruptCheckpointError, match=r"0002/checkpoint\.json") as caught:
        two.select(main)

    assert len(str(caught.value)) < 600
    assert two.steps(main) == [1, 2], "a damaged checkpoint is one that is there"
    assert_others_are_usable(two)


@pytest.mark.parametrize("value", ["2", "1", 1.0, True, None, 0, -1, [1], {}], ids=repr)
def test_a_format_that_is_no_number_of_ours_is_refused_before_anything_is_written(
    two: CheckpointStore, main: ModelRef, value: object
):
    second = two.open(main.at(2))
    path = two.root / STEP / "checkpoint.json"
    rewrite(path, with_fields(format=value)(path.read_bytes()))
    before = tree(two.root)

    for use in (lambda: two.open(main.at(2)), lambda: two.fork(second, ModelRef("shop", "fork"))):
        with pytest.raises(FormatVersionError, match=r"0002/checkpoint\.json names no format"):
            use()

    assert tree(two.root) == before
    assert_others_are_usable(two)


def test_a_manifest_without_a_format_is_refused(two: CheckpointStore, main: ModelRef):
    path = two.root / STEP / "checkpoint.json"
    manifest = json.loads(path.read_bytes())
    del manifest["format"]
    rewrite(path, json.dumps(manifest).encode())

    with pytest.raises(FormatVersionError, match="names no format"):
        two.open(main.at(2))


DAMAGED_FOREIGN: dict[str, dict[str, bytes]] = {
    "a rank as text": {"adapter_config.json": with_fields(r="8")(adapter_config())},
    "a rank of three million": {"adapter_config.json": with_fields(r=3_000_000)(adapter_config())},
    "an alpha that is true": {"adapter_config.json": with_fields(lora_alpha=True)(adapter_config())},
    "an alpha of nothing": {"adapter_config.json": with_fields(lora_alpha=0)(adapter_config())},
    "targets that are numbers": {"adapter_config.json": with_fields(target_modules=[1])(adapter_config())},
    "a base that is a number": {"adapter_config.json": with_fields(base_model_name_or_path=7)(adapter_config())},
    "a deep configuration": {"adapter_config.json": b'{"r":' * 20_000},
    "a large configuration": {"adapter_config.json": b'{"x":"' + b"x" * 2**20 + b'"}'},
    "a header of 5,000 digits": {
        "adapter_model.safetensors": struct.pack("<Q", 5002) + b"{" + b"9" * 5000 + b"}",
    },
    "offsets that are text": {
        "adapter_model.safetensors": safetensors(b"abc").replace(b"[0, 3]", b'[0,"3"]'),
    },
    "a deep header": {"adapter_model.safetensors": struct.pack("<Q", 50_000) + b'{"a":' * 10_000},
}


@pytest.mark.parametrize("files", DAMAGED_FOREIGN.values(), ids=DAMAGED_FOREIGN.keys())
def test_a_foreign_checkpoint_that_makes_no_sense_is_passed_over_by_name(
    two: CheckpointStore, main: ModelRef, files: dict[str, bytes]
):
    foreign = write_foreign(two.root / MODEL / "checkpoints/0003")
    for name, content in files.items():
        (foreign / name).write_bytes(content)

    selection = two.select(main)

    assert selection.checkpoint.ref.step == 2
    assert any(name in selection.skipped[0].reason for name in files)
    assert_others_are_usable(two)
    assert foreign.is_dir()


def test_weights_written_in_no_year_of_the_calendar_are_passed_over(two: CheckpointStore, main: ModelRef):
    foreign = write_foreign(two.root / MODEL / "checkpoints/0003")
    try:
        os.utime(foreign / "adapter_model.safetensors", (0, 300_000_000_000))
    except OSError:
        pytest.skip("this file system knows no such year")
    if (foreign / "adapter_model.safetensors").stat().st_mtime < 300_000_000_000:
        pytest.skip("this file system knows no such year")

    selection = two.select(main)

    assert selection.checkpoint.ref.step == 2
    assert "no year of the calendar" in selection.skipped[0].reason


def test_lines_of_a_history_that_make_no_sense_are_left_out(two: CheckpointStore, main: ModelRef):
    good = {"step": 1, "split": "train", "time": "2026-01-01T00:00:00Z", "train/reward": 0.5, "train/text": "x"}
    lines = [
        json.dumps(good).encode(),
        b'{"step": 1' + b"[" * 50_000,
        b'{"step": "1", "train/reward": 1.0}',
        b'{"step": true, "train/reward": 1.0}',
        b'{"step": ' + b"9" * 5000 + b', "train/reward": 1.0}',
        b'{"step": 1, "train/reward": NaN}',
        b'{"step": 1, "train/reward": 1e999}',
        b'{"step": 1, "split": 7, "train/reward": 1.0}',
        b'{"step": 1, "train/reward": 1.0, "train/reward": 2.0}',
        b'{"step": 1, "train/reward": true, "train/loss": 2}',
        '{"step": 1, "note": "a\u2028b", "train/reward": 3.0}'.encode(),
        b"\xff\xfe",
        b'{"step": 1, "train/re',
    ]
    (two.root / MODEL / "history.jsonl").write_bytes(b"\n".join(lines))

    metrics = [dict(entry.metrics) for entry in HistoryStore(two.root).read(main)]

    assert metrics == [{"train/reward": 0.5}, {"train/loss": 2}, {"train/reward": 3.0}]


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


SIGN_OF_LIFE = {
    "host": "elsewhere",
    "pid": 7,
    "started": "2026-01-01T00:00:00Z",
    "beat": "2026-01-01T00:00:00Z",
    "word": "running",
}


@pytest.mark.parametrize(
    "change",
    [{"beat": "2026-01-01T00:00:00"}, {"beat": "never"}, {"pid": "7"}, {"pid": 10**30}, {"pid": True}, {"host": None}],
    ids=str,
)
def test_a_sign_of_life_that_makes_no_sense_is_none(two: CheckpointStore, main: ModelRef, change: dict[str, object]):
    path = two.root / MODEL / "run.json"
    path.write_text(json.dumps(SIGN_OF_LIFE | change))

    run = find_run(two.root, main)

    assert run is None or not run.is_alive(datetime.now(UTC))


@pytest.mark.parametrize("put", [*NO_FILES, endless])
def test_a_sign_of_life_is_read_and_given_through_no_link(
    two: CheckpointStore, main: ModelRef, tmp_path: Path, put: Put
):
    for name in ("run.json", f".run.json.{os.getpid()}"):
        replaced(two.root / MODEL / name, put, tmp_path)
    before = tree(tmp_path / "outside")

    found = find_run(two.root, main)
    Beacon(two.root, main, "2026-01-01T00:00:00Z").beat()

    assert found is None
    assert tree(tmp_path / "outside") == before
