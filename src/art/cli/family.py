"""The models of a store as branches: their steps, scores, forks and what was set aside.

Reads a store; opens only the checkpoints that will be shown. Damage does not stop it: a checkpoint that does not
open is a row that says so. Knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from art.cli.render.condense import Gap, condense
from art.errors import ArtError
from art.format.lineage import segments
from art.format.manifest import Hop, Manifest
from art.names import ModelRef
from art.store.checkpoint import Checkpoint, Skipped, look
from art.store.history import History
from art.store.store import CheckpointStore, SetAside

DEFAULT_METRIC = "train/reward"


class Whereabouts(StrEnum):
    """Where the checkpoint that a model was forked from is now."""

    HERE = "here"
    SET_ASIDE = "set aside"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """In a bucket or in another project."""


@dataclass(frozen=True)
class Row:
    """One checkpoint, as far as it could be opened."""

    step: int
    manifest: Manifest | None = None
    digest: str | None = None
    problem: str | None = None

    @property
    def is_foreign(self) -> bool:
        return self.manifest is not None and self.digest is None


@dataclass(frozen=True)
class Origin:
    """The fork that began a model, and the step of its source that it grows from as far as that is still there."""

    hop: Hop
    where: Whereabouts
    attach: int | None = None


@dataclass(frozen=True)
class Branch:
    """One model."""

    model: ModelRef
    steps: tuple[int, ...]
    """Every step that has a checkpoint, lowest first."""
    rows: Mapping[int, Row]
    """Those that were opened."""
    items: tuple[int | Gap, ...]
    """What to show, lowest first: steps, and the gaps between those that matter."""
    scores: Mapping[int, float]
    newest: int | None
    best: int | None
    origin: Origin | None
    forks: Mapping[int, tuple[ModelRef, ...]]
    set_aside: tuple[SetAside, ...]


@dataclass
class _Reading:
    """A model while its branch is put together."""

    model: ModelRef
    folders: Mapping[int, Path]
    rows: dict[int, Row]
    steps: list[int]
    newest: int | None
    scores: dict[int, float]
    set_aside: list[SetAside]

    def row(self, step: int) -> Row:
        if step not in self.rows:
            self.rows[step] = _open(self.model, step, self.folders.get(step))
        return self.rows[step]

    @property
    def hop(self) -> Hop | None:
        manifest = self.row(self.newest).manifest if self.newest is not None else None
        return manifest.ancestry[-1] if manifest and manifest.ancestry else None

    @property
    def best(self) -> int | None:
        scored = [step for step in self.steps if step in self.scores]
        return max(scored, key=lambda step: (self.scores[step], step), default=None)


def read_family(
    store: CheckpointStore, models: Iterable[ModelRef], *, metric: str = DEFAULT_METRIC, whole: bool = False
) -> list[Branch]:
    """Read models as branches, each after the one it was forked from; `whole` opens and shows every step."""
    readings = {model: _read(store, model, metric) for model in models}
    origins = {model: _origin(hop, readings) for model, reading in readings.items() if (hop := reading.hop)}
    branches = [_branch(reading, origins, whole=whole) for reading in readings.values()]
    return _sources_first(branches)


def related(store: CheckpointStore, model: ModelRef) -> list[ModelRef]:
    """Name a model, those it came from and those that came from it, as far as they are in its project."""
    sources: dict[ModelRef, list[ModelRef]] = {}
    for other in store.models(model.project):
        hop = _read_ends(store, other).hop
        sources[other] = [hop.ref.model] if hop and hop.remote is None else []
    wanted = {model}
    pending = [model]
    while pending:
        for source in sources.get(pending.pop(), []):
            if source in sources and source not in wanted:
                wanted.add(source)
                pending.append(source)
    descendants = {model}
    while grown := {other for other in sources if descendants & set(sources[other])} - descendants:
        descendants |= grown
    return sorted(wanted | descendants)


def _read(store: CheckpointStore, model: ModelRef, metric: str) -> _Reading:
    reading = _read_ends(store, model)
    manifest = reading.row(reading.newest).manifest if reading.newest is not None else None
    past = segments(model, manifest)
    reading.scores.update(History(store.root).scores(past, metric))
    for step, later in pairwise(reading.steps):
        # A checkpoint that was pulled came without its history, but the next one's manifest knows what it earned.
        if step not in reading.scores and (child := reading.row(later).manifest):
            reading.scores.update(_score_of_parent(child, metric))
    reading.set_aside.extend(store.set_aside(model))
    return reading


def _read_ends(store: CheckpointStore, model: ModelRef) -> _Reading:
    steps = store.steps(model)
    reading = _Reading(model, store.folders(model), {}, steps, None, {}, [])
    reading.newest = next((step for step in reversed(steps) if reading.row(step).manifest), None)
    return reading


def _open(model: ModelRef, step: int, folder: Path | None) -> Row:
    if folder is None:
        return Row(step, problem="it is gone")
    try:
        found = look(model.at(step), folder)
    except ArtError as error:
        return Row(step, problem=str(error))
    match found:
        case Checkpoint():
            return Row(step, found.manifest, found.digest)
        case Skipped():
            return Row(step, problem=found.reason)


def _score_of_parent(manifest: Manifest, metric: str) -> dict[int, float]:
    named = metric if "/" in metric else f"train/{metric}"
    found = manifest.metrics.get(named, manifest.metrics.get(named.removeprefix("train/")))
    return {} if found is None or manifest.parent is None else {manifest.parent.step: found}


def _origin(hop: Hop, readings: Mapping[ModelRef, _Reading]) -> Origin:
    source = readings.get(hop.ref.model)
    there = source.row(hop.step) if source and hop.step in source.steps else None
    if there and there.digest == hop.digest:
        return Origin(hop, Whereabouts.HERE, hop.step)
    if source is None or hop.remote:
        return Origin(hop, Whereabouts.ELSEWHERE)
    aside = [record for record in source.set_aside if hop.step in record.steps]
    limit = min((record.kept for record in aside if record.kept is not None), default=hop.step - 1)
    where = Whereabouts.SET_ASIDE if aside else Whereabouts.GONE
    return Origin(hop, where, max((step for step in source.steps if step <= limit), default=None))


def _branch(reading: _Reading, origins: Mapping[ModelRef, Origin], *, whole: bool) -> Branch:
    forks: dict[int, tuple[ModelRef, ...]] = {}
    matter = {step for step in (reading.newest, reading.best) if step is not None}
    for other, origin in origins.items():
        if origin.hop.ref.model == reading.model and origin.attach is not None:
            matter.add(origin.attach)
            if origin.where is Whereabouts.HERE:
                forks[origin.attach] = (*forks.get(origin.attach, ()), other)
    matter |= {kept for aside in reading.set_aside if (kept := rests_on(reading.steps, aside)) is not None}
    items = tuple(reading.steps) if whole else tuple(condense(reading.steps, matter))
    return Branch(
        model=reading.model,
        steps=tuple(reading.steps),
        rows={step: reading.row(step) for step in items if isinstance(step, int)},
        items=items,
        scores=reading.scores,
        newest=reading.newest,
        best=reading.best,
        origin=origins.get(reading.model),
        forks=forks,
        set_aside=tuple(reading.set_aside),
    )


def rests_on(steps: Iterable[int], aside: SetAside) -> int | None:
    """Give the step that what was set aside grew from, as far as it is still there."""
    kept = -1 if aside.kept is None else aside.kept
    return max((step for step in steps if step <= kept), default=None)


def _sources_first(branches: list[Branch]) -> list[Branch]:
    """Order by project, and in it each branch after the one it was forked from."""
    by_model = {branch.model: branch for branch in branches}
    forks: dict[ModelRef, list[Branch]] = {}
    ordered: dict[ModelRef, Branch] = {}
    for branch in branches:
        source = branch.origin.hop.ref.model if branch.origin else None
        if source in by_model and source.project == branch.model.project:
            forks.setdefault(source, []).append(branch)
    roots = [branch for branch in branches if not any(branch in others for others in forks.values())]
    # Two models that were forked onto each other in turn have no root: they follow in their own order.
    pending = [*branches[::-1], *sorted(roots, key=lambda branch: branch.model, reverse=True)]
    while pending:
        branch = pending.pop()
        if branch.model not in ordered:
            ordered[branch.model] = branch
            pending += reversed(forks.get(branch.model, []))
    return sorted(ordered.values(), key=lambda branch: branch.model.project)
