"""A disk that answers a question with an error of input or output: one error of ours, and nothing is half done."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from art.errors import ArtError, UnconfirmedError
from art.store.store import CheckpointStore

from .conftest import write_run
from .crash import BRANCH, MAIN, OPERATIONS
from .test_crash import seen

QUICK = {("commit", "fsync"), ("commit", "stat"), ("overwrite", "fstat"), ("rewind", "stat")}
CALLS = [
    pytest.param(operation, call, marks=[] if (operation, call) in QUICK else pytest.mark.long)
    for operation in ("commit", "fork", "overwrite", "rewind", "restore", "delete")
    for call in ("fsync", "fstat", "lstat", "stat", "scandir", "listdir")
]


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = CheckpointStore(tmp_path_factory.mktemp("dying") / "world")
    write_run(store, MAIN, 1, 2, 3)
    write_run(store, BRANCH, 2, 3)
    store.fork(store.open(MAIN.at(3)), BRANCH, overwrite=True)
    return store.root


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, call: str, at: int) -> Iterator[list[int]]:
    """Let one call of the system fail, the first, second, third ... of its kind; gives how many there were."""
    real, count = getattr(os, call), [0]

    def fail(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        yield count


@pytest.mark.parametrize(("operation", "call"), CALLS)
def test_a_disk_that_fails_anywhere_is_one_error_of_ours_and_all_happened_or_nothing(
    world: Path, place: Path, monkeypatch: pytest.MonkeyPatch, operation: str, call: str
):
    whole = Path(shutil.copytree(world, place / "whole"))
    OPERATIONS[operation](CheckpointStore(whole))
    before, after = seen(world), seen(whole)

    for at in range(1, 200):
        copy = Path(shutil.copytree(world, place / str(at)))
        with failing(monkeypatch, call, at) as count:
            try:
                OPERATIONS[operation](CheckpointStore(copy))
                error = None
            except ArtError as raised:
                error = raised
        assert seen(copy) in (before, after), at
        if operation in ("commit", "fork") and seen(copy) == after:
            assert isinstance(error, UnconfirmedError | None), at
        shutil.rmtree(copy)
        if count[0] < at:
            break

    assert at < 199
