"""Checkpoints of other trainers: folders inside, names with a leading dot, and what a reset leaves out."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import ConfigurationError, CorruptCheckpointError, StorageError
from art.format.kinds import carried_by, kind_of
from art.format.manifest import read_manifest
from art.names import ModelRef
from art.ops.verify import verify
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint

SHARDS = {".metadata": b"m", "shard/0.safetensors": b"zero", "shard/deep/1.safetensors": b"one"}
OF_A_TRAINER = ("adapter_config.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json")


def write_folder(store: CheckpointStore, model: ModelRef, files: dict[str, bytes], *, kind: str) -> Checkpoint:
    with store.stage(model.at(3)) as stage:
        for name, content in files.items():
            stage.place(name).write_bytes(content)
        return stage.commit(kind=kind, carried=carried_by(kind, files))


@pytest.fixture
def sharded(store: CheckpointStore, main: ModelRef) -> Checkpoint:
    return write_folder(store, main, SHARDS, kind="dcp")


@pytest.fixture
def of_a_trainer(store: CheckpointStore, main: ModelRef) -> Checkpoint:
    return write_folder(store, main, {name: name.encode() for name in OF_A_TRAINER}, kind="hf-trainer")


def test_an_adapter_keeps_the_first_format_and_its_bytes(store: CheckpointStore, main: ModelRef):
    fields = json.loads(write_checkpoint(store, main, 1).manifest.to_bytes())

    assert fields["format"] == 1
    assert "kind" not in fields


def test_a_folder_with_folders_is_kept_whole(store: CheckpointStore, main: ModelRef, sharded: Checkpoint):
    opened = store.open(main.at(3))

    assert opened == sharded
    assert {name: content for name, content in tree(opened.path).items() if name != "checkpoint.json"} == SHARDS
    assert (opened.manifest.format, opened.manifest.kind) == (2, "dcp")
    assert read_manifest(opened.manifest.to_bytes(), where="here") == opened.manifest
    store.verify(opened)
    assert store.debris() == []


def test_a_fork_shares_every_file_however_deep(store: CheckpointStore, branch: ModelRef, sharded: Checkpoint):
    forked = store.fork(sharded, branch)

    assert forked.copied_bytes == 0
    assert forked.checkpoint.manifest.kind == "dcp"
    assert {name: content for name, content in tree(forked.checkpoint.path).items() if name in SHARDS} == SHARDS
    store.verify(forked.checkpoint)


@pytest.mark.parametrize("name", SHARDS)
def test_a_file_that_was_altered_is_found_however_deep(
    store: CheckpointStore, main: ModelRef, sharded: Checkpoint, name: str
):
    altered = sharded.path / name
    altered.chmod(0o644)
    altered.write_bytes(bytes(len(SHARDS[name])))

    (report,) = verify(store, [main], progress=lambda *_: None)

    assert [fault.file for fault in report.faults] == [name]


def test_a_link_in_the_place_of_a_folder_is_damage(store: CheckpointStore, main: ModelRef, sharded: Checkpoint):
    folder = sharded.path / "shard"
    elsewhere = folder.rename(store.root.parent / "elsewhere")
    folder.symlink_to(elsewhere, target_is_directory=True)

    with pytest.raises(CorruptCheckpointError, match="shard is a symbolic link"):
        store.open(main.at(3))
    (report,) = verify(store, [main], progress=lambda *_: None)
    assert {fault.file for fault in report.faults} == {name for name in SHARDS if name.startswith("shard/")}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")], ids=["pipe", "link"])
def test_nothing_but_files_is_committed(store: CheckpointStore, main: ModelRef, make: Callable[[Path], None]):
    with store.stage(main.at(1)) as stage:
        make(stage.place("deep/strange"))

        with pytest.raises(StorageError, match="is no regular file"):
            stage.commit(kind="files", carried=())


def test_a_first_format_knows_no_folders():
    entry = {"path": "a/b", "size_bytes": 1, "blake3": "0" * 64}
    time = "2026-01-01T00:00:00.000Z"
    fields = {"format": 1, "project": "p", "model": "m", "step": 1, "created_at": time, "files": [entry]}

    with pytest.raises(CorruptCheckpointError, match="format 1 has no kinds, no folders"):
        read_manifest(json.dumps(fields).encode(), where="here")
    assert read_manifest(json.dumps(fields | {"format": 2}).encode(), where="here").names == ("a/b",)


@pytest.mark.parametrize(
    ("reset", "gone"),
    [
        (("optimizer", "schedule"), {"optimizer.pt", "scheduler.pt"}),
        (("random",), {"rng_state.pth"}),
        ((), set[str]()),
    ],
)
def test_a_reset_leaves_out_the_files_of_that_part(
    store: CheckpointStore, branch: ModelRef, of_a_trainer: Checkpoint, reset: tuple[str, ...], gone: set[str]
):
    forked = store.fork(of_a_trainer, branch, reset=reset).checkpoint

    assert set(OF_A_TRAINER) - set(forked.names) == gone
    assert set(of_a_trainer.manifest.carried) - set(forked.manifest.carried) == set(reset)


@pytest.mark.parametrize(
    ("reset", "words"),
    [
        (("optimizer",), "optimizer and schedule together or not at all"),
        (("state",), "state cannot be reset in a checkpoint of kind hf-trainer"),
    ],
)
def test_what_its_trainer_could_not_go_on_without_is_not_reset(
    store: CheckpointStore, branch: ModelRef, of_a_trainer: Checkpoint, reset: tuple[str, ...], words: str
):
    with pytest.raises(ConfigurationError, match=words):
        store.fork(of_a_trainer, branch, reset=reset)

    assert store.steps(branch) == []
    assert store.debris() == []


@pytest.mark.parametrize(
    ("paths", "kind"),
    [
        (OF_A_TRAINER, "hf-trainer"),
        (("model.safetensors", "optimizer.bin", "random_states_0.pkl"), "accelerate"),
        (("actor/model_world_size_1_rank_0.pt", "data.pt"), "verl"),
        ((".metadata", "__0_0.distcp"), "dcp"),
        (("weights.bin",), "files"),
    ],
)
def test_the_kind_is_told_by_the_files(paths: tuple[str, ...], kind: str):
    assert kind_of(paths) == kind


def test_nothing_changes_in_a_model_whose_manifest_has_a_kind_of_a_later_release(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    later = write_folder(store, main, SHARDS, kind="from-tomorrow")

    assert store.fork(later, branch).checkpoint.manifest.kind == "from-tomorrow"


def test_files_in_folders_are_read_only(sharded: Checkpoint):
    assert {Path(sharded.path, name).stat().st_mode & 0o777 for name in SHARDS} == {0o444}
