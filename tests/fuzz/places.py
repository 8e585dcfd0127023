"""What a bucket and a hub answer: one file there says something else, and everything that is asked of a place is asked.

What arrives is what was pushed, or nothing arrives and one error of ours says why.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.names import ModelRef
from art.ops.tree import read_tree
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import write_run

from .mutation import Draw, mutated
from .world import bounded, check_shown, tree

MAIN, FORK = ModelRef("shop", "agent-1"), ModelRef("shop", "fork")
MODEL = str(layout.model_path(MAIN))
STEP = f"{MODEL}/checkpoints/0002"
FORMS = {
    f"{STEP}/checkpoint.json": "json",
    f"{STEP}/trainer.json": "json",
    f"{STEP}/adapter_config.json": "json",
    f"{STEP}/adapter_model.safetensors": "tensors",
    f"{MODEL}/history.jsonl": "lines",
    f"{MODEL}/trajectories/train/0001.jsonl": "lines",
}


@dataclass(frozen=True)
class There:
    """A bucket as it was pushed, and the bytes of its newest checkpoint."""

    bucket: Path
    newest: dict[str, object]


def write_bucket(folder: Path) -> There:
    bucket = folder / "bucket"
    bucket.mkdir()
    store, remote = CheckpointStore(folder / "source"), Remote.open(f"file://{bucket}")
    history = HistoryStore(store.root)
    for checkpoint in write_run(store, MAIN, 1, 2):
        history.append(MAIN, checkpoint.ref.step, split="train", metrics={"reward": 0.5})
        remote.push(checkpoint)
    history.append_trajectories(MAIN, 1, split="train", trajectories=["{}"])
    remote.push_history(store, MAIN)
    return There(bucket, tree(store.open(MAIN.at(2)).path))


def check(there: There, folder: Path, source: bytes) -> None:
    """Change one file of a copy of the bucket as the bytes say, and ask for everything."""
    draw, place = Draw(source), folder / uuid.uuid4().hex
    bucket, store = Path(shutil.copytree(there.bucket, place / "bucket")), CheckpointStore(place / "root")
    path = draw.pick(sorted(FORMS))
    content = (bucket / path).read_bytes()
    (bucket / path).unlink()
    (bucket / path).write_bytes(mutated(content, draw, form=FORMS[path]))
    with bounded():
        for ask in _questions(Remote.open(f"file://{bucket}"), store):
            try:
                ask()
            except ArtError as error:
                check_shown(error)
    for model in store.models():
        for step in store.steps(model):
            _check_whole(there, store, model, step, is_same=path != f"{STEP}/checkpoint.json")
    shutil.rmtree(place)


def _check_whole(there: There, store: CheckpointStore, model: ModelRef, step: int, *, is_same: bool) -> None:
    found = store.open(model.at(step))
    store.verify(found)
    if is_same and model == MAIN and step == 2:
        assert tree(found.path) == there.newest, "what arrived is what was pushed"


def _questions(remote: Remote, store: CheckpointStore) -> Iterator[Callable[[], object]]:
    yield remote.models
    yield lambda: remote.steps(MAIN)
    yield lambda: read_tree(remote, [MAIN])
    yield lambda: remote.history(MAIN)
    yield lambda: remote.fetch(remote.select(MAIN).checkpoint, store)
    yield lambda: remote.fetch_fork(remote.open_checkpoint(MAIN.at(2)), FORK, store)
    yield lambda: remote.fetch_history(store, MAIN)
    yield lambda: remote.fork(remote.open_checkpoint(MAIN.at(2)), FORK)
    yield lambda: HistoryStore(store.root).read(MAIN)
