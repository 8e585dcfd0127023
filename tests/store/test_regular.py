"""Small files of strangers are read within bounds, or refused by their path."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import CorruptCheckpointError
from art.format.json import MAX_BYTES
from art.store import regular


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


def a_list(path: Path) -> None:
    path.write_bytes(b"[1]")


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    """Leave it out."""


@pytest.mark.parametrize("put", [too_large, a_list, a_link, os.mkfifo, Path.mkdir, nothing])
def test_what_is_no_small_object_is_refused_by_its_path(tmp_path: Path, put: Callable[[Path], object]):
    path = tmp_path / "trainer.json"
    put(path)

    with pytest.raises(CorruptCheckpointError, match=r"trainer\.json"):
        regular.read_object(path)


def test_a_small_object_is_read(tmp_path: Path):
    path = tmp_path / "trainer.json"
    path.write_bytes(b'{"seen": {"steps": 3}}')

    assert regular.read_object(path) == {"seen": {"steps": 3}}
