"""Disks that refuse: an error that names the path and the way out, and nothing changed."""

import errno
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from art.errors import ArtError, ConfigurationError, StorageError
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint, write_run


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """The folder `root` of a test, seen through a mount that cannot be written to."""
    (tmp_path / "root").mkdir()
    place = tmp_path / "read-only"
    place.mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "root", place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.root
def test_a_read_only_root_is_read_as_any_other(store: CheckpointStore, main: ModelRef, read_only: Path):
    first, second = write_run(store, main, 1, 2)
    store.rewind(first)
    reader = CheckpointStore(read_only)

    assert reader.select(main).checkpoint.digest == first.digest
    assert [aside.steps for aside in reader.set_aside(main)] == [(2,)]
    assert reader.debris() == []
    assert [ref for ref, _ in reader.lineage(main.at(1))] == [main.at(1)]
    reader.verify(reader.open(main.at(1)))
    assert second.digest


@pytest.mark.root
def test_a_read_only_root_refuses_changes(store: CheckpointStore, main: ModelRef, branch: ModelRef, read_only: Path):
    write_run(store, main, 1, 2)
    before = tree(store.root)
    reader = CheckpointStore(read_only)
    first = reader.open(main.at(1))

    for change in (
        lambda: write_checkpoint(reader, main, 3),
        lambda: reader.fork(first, branch),
        lambda: reader.rewind(first),
        lambda: reader.delete(first),
    ):
        with pytest.raises(StorageError, match="read-only; choose another root folder") as raised:
            change()
        assert raised.value.errno == errno.EROFS

    assert tree(store.root) == before


@pytest.mark.root
def test_a_reader_that_cannot_finish_a_rewind_says_what_is_unfinished(
    store: CheckpointStore, main: ModelRef, read_only: Path
):
    write_run(store, main, 1, 2)
    begin_a_rewind(store, main, step=2)

    with pytest.raises(StorageError, match=r"Could not finish the moves that were begun in .*agent-1: the file system"):
        CheckpointStore(read_only).select(main)

    assert store.select(main).checkpoint.ref.step == 1
    assert CheckpointStore(read_only).select(main).checkpoint.ref.step == 1


def test_a_file_in_the_place_of_the_root_is_named(tmp_path: Path, main: ModelRef):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="a file is in the way of a folder"):
        write_checkpoint(CheckpointStore(tmp_path / "file"), main, 1)


@pytest.mark.parametrize("url", ["s3://bucket/runs", "hf://org/adapter", "file:///runs", Path("s3://bucket")])
def test_a_url_is_no_root(url: str | Path):
    with pytest.raises(ConfigurationError, match="is a URL, where a path on this disk belongs"):
        CheckpointStore(url)


def test_a_path_that_is_too_long_asks_for_shorter_names(tmp_path: Path):
    deep = tmp_path.joinpath(*["d" * 200] * 25)

    with pytest.raises(ArtError, match="too long"):
        write_checkpoint(CheckpointStore(deep), ModelRef("shop", "agent"), 1)


def test_folders_that_other_programs_named_are_no_models(store: CheckpointStore, main: ModelRef):
    write_checkpoint(store, main, 1)
    (store.root / "shop/models/ends with a dot.").mkdir()
    (store.root / "shop/models" / uuid.uuid4().hex).write_text("a file")
    (store.root / "shop/models/.hidden").mkdir()

    assert store.models() == [main]


def begin_a_rewind(store: CheckpointStore, model: ModelRef, *, step: int) -> None:
    """Leave what a rewind leaves that was killed before its first move."""
    folder = store.root / model.project / "models" / model.name
    names = [f"checkpoints/{step:04d}", f"set_aside/0001/{step:04d}"]
    moves = [[str((folder / name).relative_to(store.root)) for name in names]]
    record = {"id": 1, "time": "2026-01-01T00:00:00.000Z", "reason": "rewound", "kept": step - 1, "moves": moves}
    (folder / "journal.json").write_text(json.dumps(record))
