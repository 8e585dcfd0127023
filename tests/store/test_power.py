"""Power is lost at any moment of an operation: what was not synced is missing, in any order, and nothing is half there.

What an operation changed is recorded and played again with parts missing (`power.py`). A fresh store finds the state
before the operation or the one after it; once the call has returned, the one after it.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from art.errors import CorruptCheckpointError
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.history import HistoryStore
from art.store.signatures import signatures_of
from art.store.store import CheckpointStore

from .conftest import write_checkpoint, write_run
from .crash import BRANCH, MAIN, OF_DAMAGED, OPERATIONS
from .power import Recorder, failures, lay_out

FRESH = ModelRef("other", "fresh")
REDONE = 12
"""Of what a failure left of one operation, so many are taken through the operation again."""


@dataclass(frozen=True)
class Scene:
    """An operation: what is there before, what changes the watched folder, and what a user sees in it."""

    prepare: Callable[[Path], None]
    act: Callable[[Path, Path], None]
    seen: Callable[[Path], object]


def a_run(folder: Path) -> None:
    store = CheckpointStore(folder)
    write_run(store, MAIN, 1, 2, 3)
    write_run(store, BRANCH, 2, 3)
    store.fork(store.open(MAIN.at(3)), BRANCH, overwrite=True)
    HistoryStore(folder).append(MAIN, 1, split="train", metrics={"reward": 0.1})


def a_damaged_run(folder: Path) -> None:
    """The newest step of a model is damaged, and its fork is not."""
    a_run(folder)
    weights = folder / "shop/models/agent-1/checkpoints/0003/adapter_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + b"x")


def a_half_done_rewind(folder: Path) -> None:
    """As a process leaves it that is killed between two of its moves."""
    a_run(folder)
    store = CheckpointStore(folder)
    store.rewind(store.open(MAIN.at(1)))
    model = folder / "shop/models/agent-1"
    (aside,) = (model / "set_aside").iterdir()
    (aside / "record.json").rename(model / "journal.json")
    (aside / "0003").rename(model / "checkpoints/0003")


def in_store(operation: str) -> Callable[[Path, Path], None]:
    return lambda watched, _: OPERATIONS[operation](CheckpointStore(watched))


def write_history(watched: Path, _: Path) -> None:
    HistoryStore(watched).append(MAIN, 2, split="train", metrics={"reward": 0.5})


def write_first_history(watched: Path, _: Path) -> None:
    HistoryStore(watched).append(FRESH, 1, split="train", metrics={"reward": 0.5})


def pull(watched: Path, other: Path) -> None:
    remote = Remote.open(f"file://{other}/bucket")
    remote.fetch(remote.select(MAIN).checkpoint, CheckpointStore(watched))


def pull_fork(watched: Path, other: Path) -> None:
    remote = Remote.open(f"file://{other}/bucket")
    remote.fetch_fork(remote.select(MAIN).checkpoint, FRESH, CheckpointStore(watched))


def push(watched: Path, other: Path) -> None:
    store = CheckpointStore(other / "root")
    Remote.open(f"file://{watched}").push(store.open(MAIN.at(3)))


def push_fork(watched: Path, other: Path) -> None:
    store = CheckpointStore(other / "root")
    Remote.open(f"file://{watched}").push_fork(store.open(MAIN.at(3)), FRESH)


def push_history(watched: Path, other: Path) -> None:
    Remote.open(f"file://{watched}").push_history(CheckpointStore(other / "root"), MAIN)


def fork_in_bucket(watched: Path, _: Path) -> None:
    remote = Remote.open(f"file://{watched}")
    remote.fork(remote.open_checkpoint(MAIN.at(2)), FRESH)


def delete_in_bucket(watched: Path, _: Path) -> None:
    remote = Remote.open(f"file://{watched}")
    if 2 in remote.steps(MAIN):
        remote.delete(MAIN.at(2))


def a_bucket(folder: Path) -> None:
    other = folder.parent / "other"
    folder.mkdir(exist_ok=True)
    store, remote = CheckpointStore(other / "root"), Remote.open(f"file://{folder}")
    for step in (1, 2):
        remote.push(store.open(MAIN.at(step)))
    remote.push_history(store, MAIN)
    HistoryStore(store.root).append(MAIN, 2, split="train", metrics={"reward": 0.7})


def a_store_and_a_bucket(folder: Path) -> None:
    store = CheckpointStore(folder)
    write_checkpoint(store, BRANCH, 1)


def seen_in_store(root: Path) -> object:
    store, history = CheckpointStore(root), HistoryStore(root)
    models = sorted(store.models())
    steps = {
        model: [
            (c.ref.step, c.manifest.files, c.manifest.parent, is_sound(store, c))
            for c in map(store.open, map(model.at, found))
        ]
        for model in models
        if (found := store.steps(model))
    }
    lines = {model: [(e.step, e.metrics) for e in found] for model in models if (found := history.read(model))}
    return (
        steps,
        lines,
        {path.name: path.read_bytes() for model in models for path in signatures_of(root, model)},
        {model: [aside.steps for aside in found] for model in models if (found := store.set_aside(model))},
    )


def is_sound(store: CheckpointStore, checkpoint: Checkpoint) -> bool:
    """Only the scenes of damage begin with anything unsound, and so only they may leave it."""
    try:
        store.verify(checkpoint)
    except CorruptCheckpointError:
        return False
    return True


def seen_in_bucket(root: Path) -> object:
    remote = Remote.open(f"file://{root}")
    seen: dict[ModelRef, object] = {}
    for model in remote.models():
        found = [remote.open_checkpoint(model.at(step)) for step in remote.steps(model)]
        for checkpoint in found:
            entries = {entry.path: (entry.size_bytes, entry.blake3) for entry in checkpoint.manifest.files}
            assert {name: remote.measure(checkpoint, name) for name in checkpoint.names} == entries
        lines = [(entry.step, entry.metrics) for entry in remote.history(model)]
        if found or lines:
            seen[model] = [(c.ref.step, c.manifest.files, c.manifest.parent) for c in found], lines
    return seen


SCENES = {
    **{name: Scene(a_run, in_store(name), seen_in_store) for name in ("commit", "fork", "overwrite", "rewind")},
    **{name: Scene(a_run, in_store(name), seen_in_store) for name in ("restore", "delete", "keep_signature")},
    **{name: Scene(a_damaged_run, in_store(name), seen_in_store) for name in OF_DAMAGED},
    "journal": Scene(a_half_done_rewind, in_store("read"), seen_in_store),
    "history": Scene(a_run, write_history, seen_in_store),
    "first history": Scene(a_run, write_first_history, seen_in_store),
    "pull": Scene(a_store_and_a_bucket, pull, seen_in_store),
    "pull a fork": Scene(a_store_and_a_bucket, pull_fork, seen_in_store),
    "push": Scene(a_bucket, push, seen_in_bucket),
    "push a fork": Scene(a_bucket, push_fork, seen_in_bucket),
    "push history": Scene(a_bucket, push_history, seen_in_bucket),
    "fork in a bucket": Scene(a_bucket, fork_in_bucket, seen_in_bucket),
    "delete in a bucket": Scene(a_bucket, delete_in_bucket, seen_in_bucket),
}
CHANGED_BY_READING = {"journal"}


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def other(place: Path) -> Path:
    """What a scene takes from elsewhere: a store with three steps, and a bucket that holds them."""
    a_run(place / "other/root")
    (place / "other/bucket").mkdir()
    store, remote = CheckpointStore(place / "other/root"), Remote.open(f"file://{place}/other/bucket")
    for checkpoint in map(store.open, map(MAIN.at, (1, 2, 3))):
        remote.push(checkpoint)
    return place / "other"


def test_a_killed_push_to_a_folder_leaves_nothing_once_another_was_made(place: Path, other: Path):
    watched = place / "watched"
    a_bucket(watched)
    (watched / ".puts/killed").mkdir(parents=True)
    (watched / ".puts/killed/adapter_model.safetensors").write_bytes(b"half")

    push(watched, other)

    assert not (watched / ".puts").exists()
    assert seen_in_bucket(watched)


def test_a_push_to_a_folder_follows_no_link_below_a_model(place: Path, other: Path):
    watched, outside = place / "watched", place / "outside"
    outside.mkdir()
    (watched / "shop/models/agent-1").mkdir(parents=True)
    (watched / "shop/models/agent-1/checkpoints").symlink_to(outside)

    with pytest.raises(CorruptCheckpointError, match="symbolic link"):
        push(watched, other)

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", SCENES)
def test_after_a_power_failure_an_operation_happened_or_did_not(
    place: Path, other: Path, name: str, record_property: Callable[[str, object], None]
):
    scene, watched = SCENES[name], place / "watched"
    scene.prepare(watched)
    before = scene.seen(shutil.copytree(watched, place / "before"))
    recorder = Recorder(watched)

    recorder.record(lambda: scene.act(watched, other))

    after = scene.seen(watched)
    assert (before != after) != (name in CHANGED_BY_READING)
    count = 0
    for count, (returned, tree) in enumerate(failures(recorder), start=1):
        left = lay_out(tree, place / uuid.uuid4().hex)
        found = scene.seen(left)
        assert found == after or (found == before and not returned), (sorted(tree), returned)
        if found != after and count % 5 == 0 and count <= 5 * REDONE:
            scene.act(left, other)
            assert scene.seen(left) == after
        shutil.rmtree(left)
    record_property("replays of a power failure", count)
    assert count > 2
