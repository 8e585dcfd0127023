"""A checkpoint and what the rest of its place knows about it: its past, its earnings, and who holds the same files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from art.errors import CorruptCheckpointError, FormatVersionError, NotFoundError
from art.format.certificates import Certificate, Edge, edge_of
from art.format.layout import ADAPTER_WEIGHTS
from art.format.manifest import FileEntry, Parent
from art.names import CheckpointRef
from art.ops.held import Held
from art.ops.place import AnyPlace, Place, place_of
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN


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


@dataclass(frozen=True, kw_only=True)
class Details:
    """A checkpoint and what the rest of its place knows about it."""

    checkpoint: Held
    holders: tuple[Holder, ...]
    ancestors: tuple[Ancestor, ...]
    """Its parent and the forks in its past, newest first."""
    edge: Edge | None
    """What the way to it from its parent promises."""
    certificate: Certificate | None
    """What proves it."""
    earned: Mapping[str, float | None]
    """What these weights earned, as far as the model's history has it: `split/metric`."""


def read_details(where: AnyPlace, checkpoint: Held) -> Details:
    """Gather what is known. Only a fork shares files, and a fork keeps the step: the others with it are looked at."""
    place, step, manifest = place_of(where), checkpoint.ref.step, checkpoint.manifest
    refs = [model.at(step) for model in place.models() if model != checkpoint.ref.model]
    place.read_ahead(refs)
    others = [other for ref in refs if (other := _find(place, ref))]
    holders = [holder for other in others if (holder := _holder(checkpoint, other))]
    past: list[Parent] = list(reversed(manifest.ancestry))
    if manifest.parent and (not past or past[0].ref != manifest.parent.ref):
        past.insert(0, manifest.parent)
    ancestors = tuple(Ancestor(parent, _whereabouts(place, parent)) for parent in past)
    certificates = place.certificates(checkpoint.ref.model)
    edge = edge_of(manifest, checkpoint.digest, certificates)
    return Details(
        checkpoint=checkpoint,
        holders=tuple(holders),
        ancestors=ancestors,
        edge=edge,
        certificate=certificates.get(checkpoint.digest or "") if edge is Edge.CERTIFIED else None,
        earned=_earned(place, checkpoint.ref),
    )


def _earned(place: Place[Any], ref: CheckpointRef) -> dict[str, float | None]:
    earned: dict[str, float | None] = {}
    for entry in place.entries(ref.model):
        if entry.split == TRAIN and entry.step < ref.step:
            # Training before this step means that it was set aside: what was earned until then is of other weights.
            earned.clear()
        if entry.step == ref.step:
            earned.update(entry.metrics)
    return earned


def _find(place: Place[Any], ref: CheckpointRef) -> Held | None:
    # Another model's damage is not this checkpoint's news.
    try:
        return place.open(ref)
    except (NotFoundError, CorruptCheckpointError, FormatVersionError):
        return None


def _holder(checkpoint: Held, other: Held) -> Holder | None:
    theirs = set(other.manifest.files)
    same = tuple(entry for entry in checkpoint.manifest.files if entry in theirs)
    if ADAPTER_WEIGHTS not in {entry.path for entry in same}:
        return None
    return Holder(other.ref, same, frozenset(_linked(checkpoint, other, same)))


def _linked(checkpoint: Held, other: Held, same: Iterable[FileEntry]) -> Iterator[str]:
    if isinstance(checkpoint, Checkpoint) and isinstance(other, Checkpoint):
        for entry in same:
            # Another process may delete either.
            with suppress(FileNotFoundError):
                if (checkpoint.path / entry.path).samefile(other.path / entry.path):
                    yield entry.path


def _whereabouts(place: Place[Any], parent: Parent) -> str:
    try:
        checkpoint = place.open(parent.ref)
    except NotFoundError:
        checkpoint = None
    except (CorruptCheckpointError, FormatVersionError):
        return "damaged"
    if parent.remote and (checkpoint is None or checkpoint.digest != parent.digest):
        return f"in {parent.remote}"
    if checkpoint and checkpoint.digest == parent.digest:
        return "here"
    aside = any(parent.step in record.steps for record in place.set_aside(parent.ref.model))
    return ("set aside" if aside else "gone") + ("; another checkpoint has its step" if checkpoint else "")
