"""Whatever stops an operation, and wherever: a fresh store sees the state before it or the state after it."""

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import write_run
from .crash import BRANCH, MAIN, OPERATIONS

CHANGING = ["commit", "fork", "overwrite", "rewind", "restore", "delete"]
JOURNALED = ["overwrite", "rewind", "restore"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of worlds are copied, and none has to outlive its test."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def world(place: Path) -> Path:
    """A model with three steps, and a branch with two that were forked over once."""
    store = CheckpointStore(place / "world")
    write_run(store, MAIN, 1, 2, 3)
    write_run(store, BRANCH, 2, 3)
    store.fork(store.open(MAIN.at(3)), BRANCH, overwrite=True)
    return store.root


@pytest.fixture(scope="module")
def killed(place: Path, world: Path) -> dict[str, Path]:
    """For every operation copies of the world in which it was killed before each change; the last came to its end."""
    stopped = {operation: place / "killed" / operation for operation in CHANGING}
    for operation, copies in stopped.items():
        stop_everywhere(operation, "kill", {world: copies})
    return stopped


@pytest.mark.parametrize("operation", CHANGING)
def test_an_operation_killed_anywhere_happened_or_did_not(
    world: Path, killed: dict[str, Path], operation: str, place: Path
):
    copies = copies_of(killed[operation], place)
    before, after = seen(world), seen(copies[-1])

    found = [seen(copy) for copy in copies]

    assert before != after
    assert before in found
    assert all(state in (before, after) for state in found)


@pytest.mark.parametrize("how", ["full", "interrupt"])
@pytest.mark.parametrize("operation", CHANGING)
def test_an_operation_that_fails_anywhere_happened_or_did_not(world: Path, place: Path, operation: str, how: str):
    folder = place / how / operation
    stop_everywhere(operation, how, {world: folder})
    copies = sorted(folder.iterdir())

    before, after = seen(world), seen(copies[-1])

    for copy in copies:
        assert seen(copy) in (before, after), copy.name


@pytest.mark.parametrize("operation", CHANGING)
def test_what_was_killed_can_be_done_again(killed: dict[str, Path], operation: str, place: Path):
    copies = copies_of(killed[operation], place)
    after = seen(copies[-1])

    for copy in copies:
        if seen(copy) != after:
            OPERATIONS[operation](CheckpointStore(copy))

    assert all(seen(copy) == after for copy in copies)


@pytest.mark.parametrize("operation", JOURNALED)
def test_recovery_that_is_killed_too_is_finished_by_the_next_reader(
    world: Path, killed: dict[str, Path], operation: str, place: Path
):
    copies = copies_of(killed[operation], place)
    half_done = {copy: copy.with_name(f"again-{copy.name}") for copy in copies if list(copy.rglob("journal.json"))}
    before, after = seen(world), seen(copies[-1])

    stop_everywhere("read", "kill", half_done)

    assert len(half_done) > 2
    assert all(seen(copy) in (before, after) for again in half_done.values() for copy in again.iterdir())


@pytest.mark.parametrize("operation", CHANGING)
def test_collecting_after_a_crash_leaves_nothing_half_done(
    world: Path, killed: dict[str, Path], operation: str, place: Path
):
    copies = copies_of(killed[operation], place)
    before, after = files(world), files(copies[-1])

    for copy in copies:
        CheckpointStore(copy).collect()

    for copy in copies:
        assert files(copy) in (before, after), copy.name


def stop_everywhere(operation: str, how: str, worlds: dict[Path, Path]) -> None:
    """Run an operation in copies of each world, stopped at every change it makes; the last one came to its end."""
    folders = [str(folder) for pair in worlds.items() for folder in pair]
    command = [sys.executable, "-m", f"{__package__}.crash", operation, how, *folders]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])


def copies_of(folder: Path, place: Path) -> list[Path]:
    return sorted(shutil.copytree(folder, place / uuid.uuid4().hex).iterdir())


def seen(root: Path) -> object:
    """What a user can see of a root: every step with its metrics and parent, and what was set aside."""
    store = CheckpointStore(root)
    models = [model for model in store.models() if store.steps(model)]
    return {model: (described(store, model), [aside.steps for aside in store.set_aside(model)]) for model in models}


def described(store: CheckpointStore, model: ModelRef) -> list[object]:
    found = [store.open(model.at(step)) for step in store.steps(model)]
    for checkpoint in found:
        store.verify(checkpoint)
    return [(c.ref.step, c.manifest.files, c.manifest.parent) for c in found]


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
