"""A checkpoint and what the rest of the store knows about it: its past, its earnings, and who holds the same files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from art.errors import CorruptCheckpointError
from art.format.layout import ADAPTER_WEIGHTS
from art.format.manifest import FileEntry, Parent
from art.names import CheckpointRef
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, History
from art.store.store import CheckpointStore


@dataclass(frozen=True)
class Holder:
    """Another checkpoint with the same adapter, and the files it has in common with this one."""

    ref: CheckpointRef
    files: tuple[FileEntry, ...]
    linked: frozenset[str]
    """Names of the files that are one file on the disk by a hard link; a clone cannot be told from a copy."""

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint in the past of another one, and what is in its place now."""

    parent: Parent
    """A `Hop` where a fork left it."""
    where: str


@dataclass(frozen=True)
class Details:
    """A checkpoint and what the rest of the store knows about it."""

    checkpoint: Checkpoint
    holders: tuple[Holder, ...]
    ancestors: tuple[Ancestor, ...]
    """Its parent and the forks in its past, newest first."""
    earned: Mapping[str, float | None]
    """What these weights earned, as far as the model's history has it: `split/metric`."""


def read_details(store: CheckpointStore, checkpoint: Checkpoint) -> Details:
    """Gather what is known. Only a fork shares files, and a fork keeps the step: the others with it are looked at."""
    step, manifest = checkpoint.ref.step, checkpoint.manifest
    refs = [model.at(step) for model in store.models() if model != checkpoint.ref.model]
    others = [other for ref in refs if (other := _find(store, ref))]
    holders = [holder for other in others if (holder := _holder(checkpoint, other))]
    past: list[Parent] = list(reversed(manifest.ancestry))
    if manifest.parent and (not past or past[0].ref != manifest.parent.ref):
        past.insert(0, manifest.parent)
    ancestors = tuple(Ancestor(parent, _whereabouts(store, parent)) for parent in past)
    return Details(checkpoint, tuple(holders), ancestors, _earned(store, checkpoint.ref))


def _earned(store: CheckpointStore, ref: CheckpointRef) -> dict[str, float | None]:
    earned: dict[str, float | None] = {}
    for entry in History(store.root).read(ref.model):
        if entry.split == TRAIN and entry.step < ref.step:
            # Training before this step means that it was set aside: what was earned until then is of other weights.
            earned.clear()
        if entry.step == ref.step:
            earned.update(entry.metrics)
    return earned


def _find(store: CheckpointStore, ref: CheckpointRef) -> Checkpoint | None:
    # Another model's damage is not this checkpoint's news.
    try:
        return store.find(ref)
    except CorruptCheckpointError:
        return None


def _holder(checkpoint: Checkpoint, other: Checkpoint) -> Holder | None:
    theirs = set(other.manifest.files)
    same = tuple(entry for entry in checkpoint.manifest.files if entry in theirs)
    if ADAPTER_WEIGHTS not in {entry.path for entry in same}:
        return None
    linked = (entry.path for entry in same if (checkpoint.path / entry.path).samefile(other.path / entry.path))
    return Holder(other.ref, same, frozenset(linked))


def _whereabouts(store: CheckpointStore, parent: Parent) -> str:
    try:
        checkpoint = store.find(parent.ref)
    except CorruptCheckpointError:
        return "damaged"
    if parent.remote and (checkpoint is None or checkpoint.digest != parent.digest):
        return f"in {parent.remote}"
    if checkpoint and checkpoint.digest == parent.digest:
        return "here"
    aside = any(parent.step in record.steps for record in store.set_aside(parent.ref.model))
    return ("set aside" if aside else "gone") + ("; another checkpoint has its step" if checkpoint else "")
