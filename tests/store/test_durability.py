"""Power failures: what is published is on the disk before it is, and what has returned is on the disk.

A process that is killed loses nothing that it wrote; a machine that loses power does. So these tests watch the order
in which the store changes folders and waits for the disk: a change counts as lost until its folder is synced.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import write_checkpoint, write_run


class Watch:
    """Keeps what a power failure would take: files not yet synced, and folders whose entries are not."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self.folders: dict[Path, Path] = {}
        self.lock = Lock()
        self.early: list[Path] = []
        """Folders and files that were moved into place before their contents were on the disk."""
        self.moves: list[tuple[str, set[str]]] = []
        """What was moved, and what a power failure would have taken at that moment."""

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            self._moved(Path(arguments[0]), Path(arguments[1]))
        elif event in ("os.mkdir", "os.link"):
            self._entry(Path(arguments[1] if event == "os.link" else arguments[0]))
        elif event == "os.remove":
            self.files.discard(Path(arguments[0]))
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & os.O_CREAT:
            self.files.add(Path(arguments[0]))
            self._entry(Path(arguments[0]))

    def synced(self, handle: int) -> None:
        found = os.fstat(handle)
        with self.lock:
            self._synced(found)

    def _synced(self, found: os.stat_result) -> None:
        self.files = {path for path in self.files if not _is(path, found)}
        self.folders = {folder: entry for folder, entry in self.folders.items() if not _is(folder, found)}

    def lost(self) -> set[Path]:
        """What is not on the disk yet, staging folders left out: nobody needs those after a power failure."""
        entries = {folder / entry.name for folder, entry in self.folders.items()}
        return {path for path in self.files | entries if ".staging" not in path.parts}

    def _moved(self, source: Path, target: Path) -> None:
        self.moves.append((target.name, {path.name for path in self.lost()}))
        self.early += [path for path in (*self.files, *self.folders) if path.is_relative_to(source)]
        self.folders[source.parent] = target
        self._entry(target)

    def _entry(self, path: Path) -> None:
        self.folders[path.parent] = path


watching: list[Watch] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in watching:
        watch.see(event, arguments)


sys.addaudithook(_hook)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    fsync, found = os.fsync, Watch()

    def watched(handle: int) -> None:
        fsync(handle)
        found.synced(handle)

    monkeypatch.setattr(os, "fsync", watched)
    watching.append(found)
    yield found
    watching.remove(found)


def test_a_commit_is_on_the_disk_when_it_returns(store: CheckpointStore, main: ModelRef, watch: Watch):
    write_checkpoint(store, main, 1)

    assert not watch.early
    assert not watch.lost()


def test_a_fork_is_on_the_disk_when_it_returns(store: CheckpointStore, main: ModelRef, branch: ModelRef, watch: Watch):
    store.fork(write_checkpoint(store, main, 1), branch)

    assert not watch.early
    assert not watch.lost()


def test_an_overwriting_fork_is_on_the_disk_when_it_returns(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, watch: Watch
):
    write_run(store, branch, 1, 2)

    store.fork(write_checkpoint(store, main, 2), branch, overwrite=True)

    assert not watch.early
    assert not watch.lost()


def test_a_rewind_and_its_undoing_are_on_the_disk_when_they_return(
    store: CheckpointStore, main: ModelRef, watch: Watch
):
    first, *_ = write_run(store, main, 1, 2, 3)

    store.rewind(first)
    lost_after_rewind = watch.lost()
    store.restore(main)

    assert not watch.early
    assert not lost_after_rewind
    assert not watch.lost()


def test_a_journal_is_on_the_disk_before_the_first_folder_moves(store: CheckpointStore, main: ModelRef, watch: Watch):
    first, _, _, fourth, _ = write_run(store, main, 1, 2, 3, 4, 5)
    store.rewind(fourth)
    watch.moves.clear()

    store.rewind(first)

    (journal, _), (second, lost), *others = watch.moves
    assert (journal, second) == ("journal.json", "0002")
    assert not lost
    assert [name for name, _ in others] == ["0003", "0004", "record.json"]


def test_a_deletion_is_on_the_disk_when_it_returns(store: CheckpointStore, main: ModelRef, watch: Watch):
    _, second = write_run(store, main, 1, 2)

    store.delete(second)

    assert not watch.lost()


def test_a_line_of_history_is_on_the_disk_when_it_is_written(store: CheckpointStore, main: ModelRef, watch: Watch):
    history = HistoryStore(store.root)

    history.append(main, 1, split="train", metrics={"reward": 0.5})
    history.append_trajectories(main, 1, split="val", trajectories=["{}"])

    assert not watch.lost()


def test_what_is_synced_is_read_only(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)

    modes = {path.name: path.stat().st_mode & 0o777 for path in checkpoint.path.iterdir()}

    assert set(modes.values()) == {0o444}


def _is(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), found)
    except FileNotFoundError:
        return False
