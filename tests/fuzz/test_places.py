"""What is no file stands in the place of each file and folder of a root: it is read as nothing, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from art.errors import ArtError
from art.format import layout
from art.store.store import CheckpointStore

from . import files
from .world import MAIN, OTHER, STRANGER, bounded, check_shown, copied, tree, write_world

FOLDERS = [
    "checkpoints/0002", "checkpoints", "set_aside/0001/0004", "set_aside/0001", "set_aside", "trackers",
    "trajectories/train", "trajectories", "signatures", "continuation",
]  # fmt: skip
IN_MODEL = [
    *(subject.path.removeprefix(f"{files.MODEL}/") for subject in files.SUBJECTS if subject.model == MAIN),
    "journal.json",
    "set_aside/0001/record.json",
    *FOLDERS,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_world(tmp_path_factory.mktemp("world") / "world")
    (root / layout.model_path(STRANGER) / layout.JOURNAL).unlink()
    return root.parent


def link_to_folder(path: Path) -> None:
    path.symlink_to(next(above for above in path.parents if above.name == "root").parent / "outside")


def asked(store: CheckpointStore) -> Iterator[Callable[[], object]]:
    yield from files._questions(store)
    yield from files._changes(store)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_is_not_followed(world: Path, tmp_path: Path, name: str):
    ask_all(world, tmp_path, name, link_to_folder)


@pytest.mark.long
@pytest.mark.parametrize("name", dict.fromkeys(IN_MODEL))
def test_nothing_outside_is_touched_and_nothing_lasts(world: Path, tmp_path: Path, name: str):
    for put in (*files.NO_FILES, link_to_folder):
        ask_all(world, tmp_path, name, put)


def ask_all(world: Path, tmp_path: Path, name: str, put: Callable[[Path], None]) -> None:
    with copied(world, tmp_path) as copy, bounded():
        replace(copy / "root" / files.MODEL / name, put)
        store, before = CheckpointStore(copy / "root"), tree(copy / "outside")
        for ask in asked(store):
            try:
                ask()
            except ArtError as error:
                check_shown(error)
        assert tree(copy / "outside") == before, put
        assert store.steps(OTHER) == [1], put


def replace(path: Path, put: Callable[[Path], None]) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.parent.chmod(0o755)
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path)
