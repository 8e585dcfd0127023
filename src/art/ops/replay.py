"""A recorded step, taken again: what that needs, what of it is missing, and the first thing that differs.

A fork trains nothing, so its files are compared with its source's. Whoever asks brings what trains; this module sees no
tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from art.format import layout
from art.format.certificates import Certificate, Edge, edge_of
from art.format.json import canonical_json
from art.format.manifest import Manifest, digest_bytes, utc_now
from art.names import CheckpointRef
from art.ops.rerun import Ran, Rerun, plan_rerun
from art.store import regular
from art.store.certificates import add_certificate
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

LOSS, GRADIENT, MOMENTS, WEIGHTS, PROGRESS = "loss", "gradient", "moments", "weights", "progress"
TRAIL = ("rendering", "advantage", "log-probability", LOSS, GRADIENT)
"""The stages that a manifest has digests of, in the order in which a step comes to them."""
MEASURED = {LOSS: "loss", GRADIENT: "grad_norm"}
"""What tells of a stage where a release wrote the manifest that knew no digests."""
COUNTERS = ("optimizer_steps", "schedule_step", "objective", "random")
DEVICE, NOT_NUMBERS = "device", frozenset({"seed"})


class ReplayOutcome(StrEnum):
    """What a replay found."""

    SAME = "same"
    DIFFERS = "differs"
    IMPOSSIBLE = "impossible"


class Way(StrEnum):
    """How a checkpoint came from its parent."""

    TRAINED = "trained"
    FORKED = "forked"


@dataclass(frozen=True, kw_only=True)
class ReplayStage:
    """One thing that was compared: digests, or numbers to the last bit. None is what nobody recorded."""

    name: str
    recorded: str | None
    replayed: str | None

    @property
    def is_same(self) -> bool | None:
        return None if self.recorded is None or self.replayed is None else self.recorded == self.replayed


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Something that the bits depend on, and that is not what it was."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of taking a step again."""

    checkpoint: Checkpoint
    way: Way
    missing: tuple[str, ...] = ()
    """Why it cannot be taken again."""
    stages: tuple[ReplayStage, ...] = ()
    changed: tuple[Changed, ...] = ()

    @property
    def ref(self) -> CheckpointRef:
        return self.checkpoint.ref

    @property
    def first_difference(self) -> str | None:
        """The first stage that differs; where the environment changed too, that is likely why."""
        return next((stage.name for stage in self.stages if stage.is_same is False), None)

    @property
    def outcome(self) -> ReplayOutcome:
        if self.missing:
            return ReplayOutcome.IMPOSSIBLE
        return ReplayOutcome.SAME if self.first_difference is None else ReplayOutcome.DIFFERS


def certify(store: CheckpointStore, replay: Replay) -> Certificate | None:
    """Store the certificate that a replay has earned, beside the checkpoint, and give the one that is there.

    None where something differs, and for a fork that carried the weights only: there is nothing to be exact about.
    """
    checkpoint = replay.checkpoint
    if replay.outcome is not ReplayOutcome.SAME or checkpoint.digest is None:
        return None
    if edge_of(checkpoint.manifest, checkpoint.digest, {}) is Edge.WEIGHTS_ONLY and replay.way is Way.FORKED:
        return None
    parent = checkpoint.manifest.parent
    certificate = Certificate(
        step=checkpoint.ref.step,
        checkpoint=checkpoint.digest,
        parent=parent.digest if parent else None,
        same=tuple(stage.name for stage in replay.stages if stage.is_same),
        changed={change.name: change.now for change in replay.changed},
        time=utc_now(),
    )
    return add_certificate(store.root, checkpoint.ref.model, certificate)


TakeAgain = Callable[[Rerun], Ran]
"""Takes a step in a new process and leaves what it saved in the rerun's folder."""


def replay(
    store: CheckpointStore, ref: CheckpointRef, folder: Path, *, take_again: TakeAgain, base_model: str | None = None
) -> Replay:
    """Take the step again that led to a checkpoint, in a folder that is there, and compare bit for bit.

    Raises `CheckpointNotFoundError` and `CorruptCheckpointError` for the checkpoint itself; what else is missing is in
    the result.
    """
    checkpoint = store.open(ref)
    store.verify(checkpoint)
    if is_fork(checkpoint.manifest):
        return _compare_fork(store, checkpoint)
    rerun = plan_rerun(store, checkpoint, folder)
    if not isinstance(rerun, Rerun):
        return Replay(checkpoint=checkpoint, way=Way.TRAINED, missing=tuple(rerun))
    ran = take_again(replace(rerun, base_model=base_model or rerun.base_model))
    return Replay(
        checkpoint=checkpoint,
        way=Way.TRAINED,
        stages=tuple(_stages(checkpoint, ran, Path(rerun.save))),
        changed=tuple(_changes(checkpoint.manifest, ran)),
    )


def is_fork(manifest: Manifest) -> bool:
    """Tell whether a checkpoint is the fork itself, and no step that was trained on it."""
    return manifest.parent is not None and manifest.parent.ref.model != manifest.ref.model


def _compare_fork(store: CheckpointStore, checkpoint: Checkpoint) -> Replay:
    parent = checkpoint.manifest.parent
    assert parent is not None
    source = None if parent.remote else store.find(parent.ref)
    if source is None or source.digest != parent.digest:
        where = f"lies in {parent.remote}; pull it" if parent.remote else f"is no longer in {store.root}"
        return Replay(checkpoint=checkpoint, way=Way.FORKED, missing=(f"its source {parent.ref} {where}",))
    store.verify(source)
    theirs = {entry.path: entry.blake3 for entry in source.manifest.files}
    stages = [
        ReplayStage(name=entry.path, recorded=theirs.get(entry.path, "none"), replayed=entry.blake3)
        for entry in checkpoint.manifest.files
    ]
    return Replay(checkpoint=checkpoint, way=Way.FORKED, stages=tuple(stages))


def _stages(checkpoint: Checkpoint, ran: Ran, saved: Path) -> Iterator[ReplayStage]:
    manifest = checkpoint.manifest
    trail: Mapping[str, str] = manifest.learned_from.trail if manifest.learned_from else {}
    for name in TRAIL:
        if name in trail:
            yield ReplayStage(name=name, recorded=trail[name], replayed=ran.trail.get(name))
        else:
            metric = MEASURED.get(name, "")
            yield ReplayStage(
                name=name, recorded=_number(manifest.metrics, metric), replayed=_number(ran.metrics, metric)
            )
    files = {entry.path: entry.blake3 for entry in manifest.files}
    for name, path in ((MOMENTS, layout.OPTIMIZER), (WEIGHTS, layout.ADAPTER_WEIGHTS)):
        yield ReplayStage(name=name, recorded=files.get(path), replayed=digest_bytes((saved / path).read_bytes()))
    yield ReplayStage(name=PROGRESS, recorded=_progress(checkpoint.path), replayed=_progress(saved))


def _number(metrics: Mapping[str, float | None], name: str) -> str | None:
    value = metrics.get(name)
    return None if value is None else repr(value)


def _progress(folder: Path) -> str:
    """Digest the counters and the random state: not the environment, which is told apart, and not the user's state."""
    values = regular.read_object(folder / layout.TRAINER)
    return digest_bytes(canonical_json({name: values.get(name) for name in COUNTERS}))


def _changes(manifest: Manifest, ran: Ran) -> Iterator[Changed]:
    then: dict[str, Any] = {**manifest.environment, **manifest.libraries}
    for name, value in sorted(then.items()):
        if name not in NOT_NUMBERS and str(ran.environment.get(name)) != str(value):
            yield Changed(name=name, then=str(value), now=str(ran.environment.get(name)))
    known = manifest.base_model.fingerprint if manifest.base_model else None
    if known is not None and known != ran.fingerprint:
        yield Changed(name="base model", then=known, now=ran.fingerprint)
