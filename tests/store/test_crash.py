"""Whatever stops an operation, and wherever: a fresh store sees the state before it or the state after it."""

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from art.errors import CorruptCheckpointError
from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.store.signatures import signatures_of
from art.store.store import CheckpointStore

from .conftest import write_run
from .crash import BRANCH, MAIN, OF_DAMAGED, OPERATIONS

CHANGING = ["commit", "fork", "overwrite", "rewind", "restore", "delete", "keep_signature", *OF_DAMAGED]
JOURNALED = ["overwrite", "rewind", "restore", *OF_DAMAGED]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of worlds are copied, and none has to outlive its test."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def worlds(place: Path) -> dict[str, Path]:
    """For every operation a model with three steps, and a branch with two that were forked over once.

    Where something is to be done about damage, the newest checkpoint of the model is damaged, and its fork is not.
    """
    store = CheckpointStore(place / "world")
    write_run(store, MAIN, 1, 2, 3)
    write_run(store, BRANCH, 2, 3)
    store.fork(store.open(MAIN.at(3)), BRANCH, overwrite=True)
    damaged = Path(shutil.copytree(store.root, place / "damaged"))
    weights = CheckpointStore(damaged).open(MAIN.at(3)).path / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + b"x")
    return {operation: damaged if operation in OF_DAMAGED else store.root for operation in CHANGING}


@pytest.fixture(scope="module")
def killed(place: Path, worlds: dict[str, Path]) -> dict[str, Path]:
    """For every operation copies of its world in which it was killed before each change; the last came to its end."""
    stopped = {operation: place / "killed" / operation for operation in CHANGING}
    for operation, copies in stopped.items():
        stop_everywhere(operation, "kill", {worlds[operation]: copies})
    return stopped


@pytest.mark.parametrize("operation", CHANGING)
def test_an_operation_killed_anywhere_happened_or_did_not(
    worlds: dict[str, Path],
    killed: dict[str, Path],
    operation: str,
    place: Path,
    record_property: Callable[[str, object], None],
):
    copies = copies_of(killed[operation], place)
    before, after = seen(worlds[operation]), seen(copies[-1])

    found = [seen(copy) for copy in copies]

    record_property("crash points", len(copies) - 1)
    assert before != after
    assert before in found
    assert all(state in (before, after) for state in found)


@pytest.mark.parametrize("how", ["ENOSPC", "interrupt", pytest.param("EIO", marks=pytest.mark.long)])
@pytest.mark.parametrize("operation", CHANGING)
def test_an_operation_that_fails_anywhere_happened_or_did_not(
    worlds: dict[str, Path], place: Path, operation: str, how: str, record_property: Callable[[str, object], None]
):
    folder = place / how / operation
    stop_everywhere(operation, how, {worlds[operation]: folder})
    copies = sorted(folder.iterdir())

    before, after = seen(worlds[operation]), seen(copies[-1])

    record_property("injected errors", len(copies) - 1)
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
    worlds: dict[str, Path], killed: dict[str, Path], operation: str, place: Path
):
    copies = copies_of(killed[operation], place)
    half_done = {copy: copy.with_name(f"again-{copy.name}") for copy in copies if list(copy.rglob("journal.json"))}
    before, after = seen(worlds[operation]), seen(copies[-1])

    stop_everywhere("read", "kill", half_done)

    assert len(half_done) > 2
    assert all(seen(copy) in (before, after) for again in half_done.values() for copy in again.iterdir())


@pytest.mark.parametrize("operation", CHANGING)
def test_collecting_after_a_crash_leaves_nothing_half_done(
    worlds: dict[str, Path], killed: dict[str, Path], operation: str, place: Path
):
    copies = copies_of(killed[operation], place)
    before, after = files(worlds[operation]), files(copies[-1])

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
    """What a user can see of a root: every step with its files and parent, what was set aside, and signatures."""
    store = CheckpointStore(root)
    models = [model for model in store.models() if store.steps(model)]
    signed = {path.name: path.read_bytes() for model in models for path in signatures_of(root, model)}
    asides = {model: [aside.steps for aside in store.set_aside(model)] for model in models}
    return {model: described(store, model) for model in models}, asides, signed


def described(store: CheckpointStore, model: ModelRef) -> list[object]:
    found = [store.open(model.at(step)) for step in store.steps(model)]
    return [(c.ref.step, c.manifest.files, c.manifest.parent, is_sound(store, c)) for c in found]


def is_sound(store: CheckpointStore, checkpoint: Checkpoint) -> bool:
    try:
        store.verify(checkpoint)
    except CorruptCheckpointError:
        return False
    return True


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
