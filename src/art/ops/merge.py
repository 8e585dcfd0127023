"""Merging two checkpoints into a new model, which has both for parents. Sees no tensor: a seam combines them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from art.errors import (
    BaseModelMismatchError,
    ConfigurationError,
    DestinationNotEmptyError,
    IncompatibleError,
    LoRAShapeMismatchError,
)
from art.format.kinds import ADAPTER, RESETTABLE
from art.format.lineage import hop_from
from art.format.manifest import Manifest, Merge, Parent
from art.format.merge import Method
from art.format.pick import NEWEST, Exact, Pick
from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore


class Combine(Protocol):
    """Writes the merge of two adapters' folders into a third; gives the share of it that the rank keeps."""

    def __call__(self, first: Path, second: Path, target: Path, *, method: Method) -> float: ...


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """What is asked for: two checkpoints, and the model that begins with their merge, at the step of the first."""

    first: ModelRef
    first_pick: Pick = NEWEST
    second: ModelRef
    second_pick: Pick = NEWEST
    into: ModelRef
    method: Method = field(default_factory=Method)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge did."""

    checkpoint: Checkpoint
    first: Checkpoint
    second: Checkpoint
    method: Method
    repeated: bool
    kept: float | None
    """The share of the merged update that the rank keeps, of the squares of its entries; None where it was made
    before."""
    seconds: float


def merge(store: CheckpointStore, request: MergeRequest, *, combine: Combine) -> Merged:
    """Begin a model with the merge of two adapters; its optimizer, schedule, random state and state start afresh.

    The same merge repeated does nothing. Raises `IncompatibleError` for checkpoints that cannot be merged, and
    `DestinationNotEmptyError` for a model that has checkpoints.
    """
    try:
        return _merged(store, request, combine)
    except DestinationNotEmptyError as error:
        # A fork's way out, setting steps aside or going on, is none here.
        raise DestinationNotEmptyError(
            f"{request.into} cannot begin with a merge: it has checkpoints. Choose a new name, or delete them first."
        ) from error


def _merged(store: CheckpointStore, request: MergeRequest, combine: Combine) -> Merged:
    started = time.perf_counter()
    first = store.select(request.first, request.first_pick).checkpoint
    second = store.select(request.second, request.second_pick).checkpoint
    _check(first, second)
    other = Parent(
        project=second.ref.model.project, model=second.ref.model.name, step=second.ref.step, digest=second.digest
    )
    hop = hop_from(
        first.ref,
        first.digest,
        pick=Exact(first.ref.step),
        reset=RESETTABLE,
        merge=Merge(other=other, method=request.method),
    )
    told: dict[str, Any] = {"first": first, "second": second, "method": request.method}
    if fork := store.find_fork(request.into, hop):
        return Merged(checkpoint=fork.checkpoint, repeated=True, kept=None, seconds=_since(started), **told)
    for each in (first, second):
        store.verify(each)
    with store.stage(request.into.at(first.ref.step)) as stage:
        kept = combine(first.path, second.path, stage.path, method=request.method)
        manifest = first.manifest.model_copy(update={"files": stage.staged(), "metrics": {}, "settings": {}})
        forked = stage.commit_fork(manifest, hop)
    return Merged(checkpoint=forked.checkpoint, repeated=forked.repeated, kept=kept, seconds=_since(started), **told)


def _check(first: Checkpoint, second: Checkpoint) -> None:
    if first.ref == second.ref:
        raise ConfigurationError(f"{first.ref} cannot be merged with itself; name two checkpoints.")
    for each in (first, second):
        if each.manifest.kind != ADAPTER:
            raise IncompatibleError(
                f"{each.ref} is a checkpoint of kind {each.manifest.kind}, whose files are never loaded here."
            )
    ours, theirs = first.manifest, second.manifest
    if not _has_same_base(ours, theirs):
        bases = " and ".join(each.base_model.id if each.base_model else "unknown" for each in (ours, theirs))
        raise BaseModelMismatchError(
            f"{first.ref} and {second.ref} belong to different base models ({bases}); their adapters cannot be merged."
        )
    if ours.lora and theirs.lora and ours.lora.targets != theirs.lora.targets:
        raise LoRAShapeMismatchError(
            f"{first.ref} adapts {_words(ours)}, {second.ref} {_words(theirs)}; only adapters on the same layers "
            "can be merged."
        )


def _has_same_base(ours: Manifest, theirs: Manifest) -> bool:
    """Compare by fingerprint where both have one; other programs' adapters name their base as they like."""
    if ours.base_model is None or theirs.base_model is None:
        return True
    if ours.base_model.fingerprint and theirs.base_model.fingerprint:
        return ours.base_model.fingerprint == theirs.base_model.fingerprint
    return True


def _words(manifest: Manifest) -> str:
    targets = manifest.lora.targets if manifest.lora else ()
    return targets if isinstance(targets, str) else ", ".join(targets)


def _since(started: float) -> float:
    return time.perf_counter() - started
