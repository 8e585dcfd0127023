"""Folders of other trainers: committed as they are, and written out again."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import (
    ArtError,
    CheckpointExistsError,
    ConfigurationError,
    CorruptCheckpointError,
    IncompatibleError,
    StorageError,
)
from art.names import ModelRef
from art.ops.folders import checkout, commit_folder
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import tree, write_checkpoint

RUN = ModelRef("shop", "run")
FILES = {"model.safetensors": b"weights", "optimizer.pt": b"moments", "trainer_state.json": b"{}", "deep/er/.x": b"x"}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "out/checkpoint-3", FILES)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def test_a_folder_becomes_a_checkpoint_and_stays_as_it_is(store: CheckpointStore, folder: Path):
    done = commit_folder(store, folder, RUN.at(3), metrics={"loss": 0.5})

    manifest = store.open(RUN.at(3)).manifest
    assert done.checkpoint.manifest == manifest
    assert (manifest.kind, manifest.carried) == ("hf-trainer", ("optimizer", "state"))
    assert manifest.metrics == {"loss": 0.5}
    assert tree(folder) == FILES
    assert set(manifest.names) == set(FILES)


def test_what_the_trainer_writes_later_does_not_reach_the_store(store: CheckpointStore, folder: Path):
    checkpoint = commit_folder(store, folder, RUN.at(3)).checkpoint

    for name in FILES:
        with (folder / name).open("r+b") as file:
            file.write(b"!")

    store.verify(checkpoint)


def test_the_next_one_continues_it_and_the_same_again_does_nothing(
    store: CheckpointStore, folder: Path, tmp_path: Path
):
    first = commit_folder(store, folder, RUN.at(3)).checkpoint
    later = write(tmp_path / "out/checkpoint-6", {**FILES, "model.safetensors": b"further"})
    second = commit_folder(store, later, RUN.at(6)).checkpoint
    before = tree(store.root)

    again = commit_folder(store, folder, RUN.at(3))

    assert second.manifest.parent is not None
    assert second.manifest.parent.digest == first.digest
    assert again.repeated
    assert tree(store.root) == before


@pytest.mark.parametrize(
    ("change", "step", "error", "words"),
    [
        (lambda folder: write(folder, {"model.safetensors": b"other"}), 3, CheckpointExistsError, "is there already"),
        (lambda _: None, 2, CheckpointExistsError, "stands at step 3, beyond 2"),
        (lambda folder: (folder / "trainer_state.json").unlink(), 6, IncompatibleError, "this one is of kind files"),
        (lambda folder: write(folder, {"checkpoint.json": b"{}"}), 6, ConfigurationError, "Rename it"),
        (lambda folder: write(folder, {"a\nb": b""}), 6, ConfigurationError, "cannot be kept"),
        (lambda folder: write(folder, {"A.txt": b"", "a.txt": b""}), 6, ConfigurationError, "cannot be kept"),
        (lambda folder: write(folder, {"\u00e9": b"", "e\u0301": b""}), 6, ConfigurationError, "cannot be kept"),
        (lambda folder: write(folder, {"Checkpoint.JSON": b""}), 6, ConfigurationError, "cannot be kept"),
        (lambda folder: write(folder, {os.fsdecode(b"\xff"): b""}), 6, ConfigurationError, "cannot be kept"),
        (lambda folder: os.mkfifo(folder / "pipe"), 6, StorageError, "no regular file"),
        (lambda folder: (folder / "link").symlink_to("/etc"), 6, StorageError, "no regular file"),
        (lambda folder: make_socket(folder / "socket"), 6, StorageError, "no regular file"),
        (lambda folder: folder.rename(folder.parent / "gone"), 6, ConfigurationError, "is no folder"),
    ],
    ids=[
        *("other files", "behind", "other kind", "our name", "control", "case", "composed", "our name in case"),
        *("no text", "pipe", "link", "socket", "gone"),
    ],
)
def test_what_cannot_be_kept_is_one_error_and_changes_nothing(
    store: CheckpointStore, folder: Path, change: Callable[[Path], object], step: int, error: type[ArtError], words: str
):
    commit_folder(store, folder, RUN.at(3))
    before = tree(store.root)
    change(folder)

    with pytest.raises(error, match=words):
        commit_folder(store, folder, RUN.at(step))

    assert tree(store.root) == before


@pytest.mark.parametrize("above", ["", "pytorch_model_fsdp_0/"], ids=["alone", "of the Trainer"])
def test_shards_whose_index_is_not_written_yet_are_kept_only_when_that_is_asked_for(
    store: CheckpointStore, tmp_path: Path, above: str
):
    files = {f"{above}__0_0.distcp": b"shard", **({"trainer_state.json": b"{}"} if above else {})}
    folder = write(tmp_path / "step-3", files)

    with pytest.raises(ConfigurationError, match=r"shards without the \.metadata"):
        commit_folder(store, folder, RUN.at(3))
    assert not store.root.exists()
    kept = commit_folder(store, folder, RUN.at(3), kind="files").checkpoint
    write(folder, {f"{above}.metadata": b"index"})
    whole = commit_folder(store, folder, ModelRef("shop", "whole").at(3)).checkpoint

    assert (kept.manifest.kind, whole.manifest.kind) == ("files", "hf-trainer" if above else "dcp")


@pytest.mark.parametrize("above", ["", "unwrapped/"])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_model_in_shards_of_which_one_is_not_there_is_unfinished(
    store: CheckpointStore, tmp_path: Path, above: str, ending: str
):
    names = [f"model-0000{each}-of-00002.{ending}" for each in (1, 2)]
    weights = {"weight_map": {"a": names[0], "b": names[1]}}
    files = {f"{above}model.{ending}.index.json": json.dumps(weights).encode(), f"{above}{names[0]}": b"1"}
    folder = write(tmp_path / "step-3", files)

    with pytest.raises(ConfigurationError, match=rf"index\.json names {names[1]}, which is not beside it"):
        commit_folder(store, folder, RUN.at(3))
    assert not store.root.exists()
    write(folder, {f"{above}{names[1]}": b"2"})
    assert len(commit_folder(store, folder, RUN.at(3)).checkpoint.names) == 3


@pytest.mark.parametrize("kind", ["adapter", "HF", "nothing"])
def test_a_kind_that_is_none_is_refused(store: CheckpointStore, folder: Path, kind: str):
    with pytest.raises(ConfigurationError, match="there are hf-trainer, accelerate, verl, lightning, prime"):
        commit_folder(store, folder, RUN.at(3), kind=kind)


def test_a_run_is_not_continued_with_the_folder_of_another_trainer(store: CheckpointStore, folder: Path):
    write_checkpoint(store, RUN, 1)

    with pytest.raises(IncompatibleError, match="has checkpoints of kind adapter"):
        commit_folder(store, folder, RUN.at(3))


def test_what_is_checked_out_is_the_users_own(store: CheckpointStore, folder: Path, tmp_path: Path):
    checkpoint = commit_folder(store, folder, RUN.at(3)).checkpoint

    size_bytes = checkout(checkpoint, tmp_path / "mine")
    (tmp_path / "mine/model.safetensors").write_bytes(b"changed")

    assert size_bytes == sum(map(len, FILES.values()))
    assert {**tree(tmp_path / "mine"), "model.safetensors": b"weights"} == FILES
    store.verify(checkpoint)


def test_a_damaged_checkpoint_is_not_written_out(store: CheckpointStore, folder: Path, tmp_path: Path):
    checkpoint = commit_folder(store, folder, RUN.at(3)).checkpoint
    (checkpoint.path / "optimizer.pt").chmod(0o644)
    (checkpoint.path / "optimizer.pt").write_bytes(b"xxxxxxx")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(CorruptCheckpointError, match=r"optimizer\.pt was altered"):
        checkout(checkpoint, tmp_path / "mine")

    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_with_something_in_it_is_left_alone(store: CheckpointStore, folder: Path):
    checkpoint = commit_folder(store, folder, RUN.at(3)).checkpoint

    with pytest.raises(ConfigurationError, match="is there already"):
        checkout(checkpoint, folder)

    assert tree(folder) == FILES


def test_a_commit_that_was_killed_before_its_metrics_were_written_is_finished_by_the_same_again(
    store: CheckpointStore, folder: Path
):
    (folder / "trainer_state.json").write_text('{"log_history": [{"step": 2, "loss": 0.9}, {"step": 3, "loss": 0.5}]}')
    commit_folder(store, folder, RUN.at(3), metrics={"reward": 1.0})
    history = store.root / "shop/models/run/history.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)

    for kept in range(len(lines) + 1):
        history.write_bytes(b"".join(lines[:kept]))
        again = commit_folder(store, folder, RUN.at(3), metrics={"reward": 1.0})

        assert again.repeated
        assert [entry.metrics for entry in HistoryStore(store.root).read(RUN)] == [
            {"train/loss": 0.9},
            {"train/loss": 0.5},
            {"train/reward": 1.0},
        ]


def test_what_a_model_has_trained_beyond_is_not_written_again(store: CheckpointStore, tmp_path: Path):
    folders = {step: write(tmp_path / f"checkpoint-{step}", FILES | {"x": bytes(step)}) for step in (1, 2)}
    for step, folder in folders.items():
        commit_folder(store, folder, RUN.at(step), metrics={"reward": float(step)})
    history = store.root / "shop/models/run/history.jsonl"
    history.write_bytes(history.read_bytes().splitlines(keepends=True)[1])

    again = commit_folder(store, folders[1], RUN.at(1), metrics={"reward": 1.0})

    assert again.repeated
    assert [entry.step for entry in HistoryStore(store.root).read(RUN)] == [2]


def test_a_step_is_no_metric(store: CheckpointStore, folder: Path):
    with pytest.raises(ConfigurationError, match="A metric cannot be called 'step'"):
        commit_folder(store, folder, RUN.at(3), metrics={"step": 7.0})


@pytest.mark.parametrize("place", ["models/run/checkpoints/0004", "models/other", "models/run/mine/deep"])
def test_files_are_taken_out_to_no_place_among_the_models(
    store: CheckpointStore, folder: Path, tmp_path: Path, place: str
):
    checkpoint = commit_folder(store, folder, RUN.at(3)).checkpoint
    before = tree(store.root)
    link = tmp_path / "link"
    link.symlink_to(store.root / RUN.project)

    with pytest.raises(ConfigurationError, match="lies among the models"):
        checkout(checkpoint, link / place)

    assert tree(store.root) == before
