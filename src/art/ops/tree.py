"""The models of a place as branches: their steps, scores, forks and what was set aside.

Reads a place; opens only the checkpoints that will be shown. Damage does not stop it: a checkpoint that does not
open is a step with a problem, a model that cannot be listed a branch with one. Gives values and knows no words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from art.errors import ArtError
from art.format.certificates import Certificate, Certificates, Edge, edge_of
from art.format.lineage import segments
from art.format.manifest import Hop, Manifest
from art.format.pins import Pins
from art.names import CheckpointRef, ModelRef
from art.ops.changes import Change, changes_of_fork
from art.ops.condense import Gap, condense
from art.ops.place import AnyPlace, Place, place_of
from art.ops.update import is_without_signal
from art.store.aside import SetAside

DEFAULT_METRIC = "train/reward"


class Whereabouts(StrEnum):
    """Where the checkpoint that a model was forked from is now."""

    HERE = "here"
    SET_ASIDE = "set aside"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """In a bucket or in another project."""


@dataclass(frozen=True, kw_only=True)
class BranchStep:
    """One checkpoint of a branch, as far as it could be opened."""

    step: int
    manifest: Manifest | None = None
    size_bytes: int | None = None
    digest: str | None = None
    edge: Edge | None = None
    """What the way to it from its parent promises."""
    problem: str | None = None

    @property
    def is_foreign(self) -> bool:
        return self.manifest is not None and self.digest is None

    @property
    def is_without_signal(self) -> bool:
        """Whether the update that led here found nothing to learn."""
        return self.manifest is not None and is_without_signal(self.manifest.metrics)


@dataclass(frozen=True)
class Origin:
    """The fork that began a model, and the step of its source that it grows from as far as that is still there."""

    hop: Hop
    where: Whereabouts
    attach: int | None = None


@dataclass(frozen=True, kw_only=True)
class TreeBranch:
    """One model."""

    model: ModelRef
    steps: tuple[int, ...]
    """Every step that has a checkpoint, lowest first."""
    opened: Mapping[int, BranchStep]
    """Those that were opened."""
    items: tuple[int | Gap, ...]
    """What to show, lowest first: steps, and the gaps between those that matter."""
    scores: Mapping[int, float]
    newest: int | None
    best: int | None
    origin: Origin | None
    forks: Mapping[int, tuple[ModelRef, ...]]
    merges: Mapping[int, tuple[CheckpointRef, ...]]
    """The steps that were merged into other branches, and where those begin."""
    set_aside: tuple[SetAside, ...]
    changes: tuple[Change, ...]
    """What its first step was made with that the step it was forked from was not."""
    certified: tuple[int, ...]
    """The steps whose edge is certified."""
    pinned: tuple[int, ...]
    problem: str | None
    """Why the model could not be listed, or not whole."""


@dataclass(kw_only=True)
class _Draft:
    """A branch while it is put together."""

    model: ModelRef
    place: Place[Any]
    opened: dict[int, BranchStep] = field(default_factory=dict[int, BranchStep])
    steps: list[int] = field(default_factory=list[int])
    newest: int | None = None
    scores: dict[int, float] = field(default_factory=dict[int, float])
    set_aside: list[SetAside] = field(default_factory=list[SetAside])
    certificates: Certificates = field(default_factory=dict[str, Certificate])
    pins: Pins = field(default_factory=Pins)
    problem: str | None = None

    def at(self, step: int) -> BranchStep:
        if step not in self.opened:
            self.opened[step] = _open(self.place, self.model.at(step), self.certificates)
        return self.opened[step]

    @property
    def hop(self) -> Hop | None:
        manifest = self.at(self.newest).manifest if self.newest is not None else None
        return manifest.ancestry[-1] if manifest and manifest.ancestry else None

    @property
    def certified(self) -> list[int]:
        steps = sorted({each.step for each in self.certificates.values()} & set(self.steps))
        return [step for step in steps if self.at(step).edge is Edge.CERTIFIED]

    @property
    def pinned(self) -> list[int]:
        steps = sorted({step for step, _ in self.pins.checkpoints} & set(self.steps))
        return [step for step in steps if self.pins.holds(step, self.at(step).digest)]

    @property
    def changes(self) -> list[Change]:
        hop = self.hop
        first = next((step for step in self.steps if step > hop.step), None) if hop else None
        if hop is None or first is None or hop.step not in self.steps:
            return []
        before, after = (self.at(step).manifest for step in (hop.step, first))
        return changes_of_fork(before.settings, after.settings) if before and after else []

    @property
    def best(self) -> int | None:
        scored = [step for step in self.steps if step in self.scores]
        return max(scored, key=lambda step: (self.scores[step], step), default=None)


def read_tree(
    where: AnyPlace, models: Iterable[ModelRef], *, metric: str = DEFAULT_METRIC, whole: bool = False
) -> list[TreeBranch]:
    """Read models as branches, each after the one it was forked from; `whole` opens and shows every step."""
    place, wanted = place_of(where), list(models)
    place.read_models_ahead(wanted)
    drafts = {model: _draft(place, model, metric) for model in wanted}
    if whole:
        place.read_ahead(draft.model.at(step) for draft in drafts.values() for step in draft.steps)
    origins = {model: _origin(hop, drafts) for model, draft in drafts.items() if (hop := draft.hop)}
    children = _children(origins)
    return _sources_first(
        [_branch(draft, origins.get(model), children.get(model, {}), whole=whole) for model, draft in drafts.items()]
    )


def related(where: AnyPlace, model: ModelRef) -> list[ModelRef]:
    """Name a model, those it came from and those that came from it, as far as they are in its project."""
    place = place_of(where)
    sources: dict[ModelRef, list[ModelRef]] = {}
    others = place.models(model.project)
    place.read_models_ahead(others, ends_only=True)
    for other in others:
        hop = _draft_ends(place, other).hop
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


def rests_on(steps: Iterable[int], aside: SetAside) -> int | None:
    """Give the step that what was set aside grew from, as far as it is still there."""
    kept = -1 if aside.kept is None else aside.kept
    return max((step for step in steps if step <= kept), default=None)


def _draft(place: Place[Any], model: ModelRef, metric: str) -> _Draft:
    draft = _draft_ends(place, model)
    try:
        draft.scores.update(_scores(place, draft, metric))
        asides = place.set_aside(model)
        draft.set_aside.extend(aside for aside in asides if aside.steps)
        draft.problem = draft.problem or next((aside.problem for aside in asides if aside.problem), None)
    except ArtError as error:
        draft.problem = draft.problem or str(error)
    return draft


def _draft_ends(place: Place[Any], model: ModelRef) -> _Draft:
    draft = _Draft(model=model, place=place)
    try:
        draft.certificates, draft.pins = place.certificates(model), place.pins(model)
        draft.steps.extend(place.steps(model))
    except ArtError as error:
        draft.problem = str(error)
    draft.newest = next((step for step in reversed(draft.steps) if draft.at(step).manifest), None)
    return draft


def _scores(place: Place[Any], draft: _Draft, metric: str) -> dict[int, float]:
    manifest = draft.at(draft.newest).manifest if draft.newest is not None else None
    scores = place.scores(segments(draft.model, manifest), metric)
    # A checkpoint that was pulled came without its history, but the next one's manifest knows what it earned.
    later = [after for step, after in pairwise(draft.steps) if step not in scores]
    place.read_ahead(draft.model.at(step) for step in later)
    for step in later:
        if child := draft.at(step).manifest:
            scores.update(_score_of_parent(child, metric))
    return scores


def _score_of_parent(manifest: Manifest, metric: str) -> dict[int, float]:
    named = metric if "/" in metric else f"train/{metric}"
    score = manifest.metrics.get(named, manifest.metrics.get(named.removeprefix("train/")))
    return {} if score is None or manifest.parent is None else {manifest.parent.step: score}


def _open(place: Place[Any], ref: CheckpointRef, certificates: Certificates) -> BranchStep:
    try:
        checkpoint = place.open(ref)
    except ArtError as error:
        return BranchStep(step=ref.step, problem=str(error))
    manifest, digest = checkpoint.description, checkpoint.digest
    edge = edge_of(manifest, digest, certificates)
    return BranchStep(step=ref.step, manifest=manifest, size_bytes=checkpoint.size_bytes, digest=digest, edge=edge)


def _origin(hop: Hop, drafts: Mapping[ModelRef, _Draft]) -> Origin:
    source = drafts.get(hop.ref.model)
    left = source.at(hop.step) if source and hop.step in source.steps else None
    if left and left.digest == hop.digest:
        return Origin(hop, Whereabouts.HERE, hop.step)
    if source is None or hop.remote:
        return Origin(hop, Whereabouts.ELSEWHERE)
    aside = [record for record in source.set_aside if hop.step in record.steps]
    limit = min((record.kept for record in aside if record.kept is not None), default=hop.step - 1)
    where = Whereabouts.SET_ASIDE if aside else Whereabouts.GONE
    return Origin(hop, where, max((step for step in source.steps if step <= limit), default=None))


def _children(origins: Mapping[ModelRef, Origin]) -> dict[ModelRef, dict[ModelRef, Origin]]:
    """Group branches by their parents; a merge has two."""
    children: dict[ModelRef, dict[ModelRef, Origin]] = {}
    for child, origin in origins.items():
        second = [origin.hop.merge.other] if origin.hop.merge else []
        for parent in (origin.hop, *second):
            children.setdefault(parent.ref.model, {})[child] = origin
    return children


def _branch(draft: _Draft, origin: Origin | None, children: Mapping[ModelRef, Origin], *, whole: bool) -> TreeBranch:
    forks, merges = _forks(draft.model, children), _merges(draft, children)
    matter = {step for step in (draft.newest, draft.best) if step is not None} | {*draft.pinned, *merges}
    matter |= {
        child.attach for child in children.values() if child.hop.ref.model == draft.model and child.attach is not None
    }
    matter |= {kept for aside in draft.set_aside if (kept := rests_on(draft.steps, aside)) is not None}
    items = tuple(draft.steps) if whole else tuple(condense(draft.steps, matter))
    return TreeBranch(
        model=draft.model,
        steps=tuple(draft.steps),
        opened={step: draft.at(step) for step in items if isinstance(step, int)},
        items=items,
        scores=draft.scores,
        newest=draft.newest,
        best=draft.best,
        origin=origin,
        forks=forks,
        merges=merges,
        set_aside=tuple(draft.set_aside),
        changes=tuple(draft.changes),
        certified=tuple(draft.certified),
        pinned=tuple(draft.pinned),
        problem=draft.problem,
    )


def _forks(model: ModelRef, children: Mapping[ModelRef, Origin]) -> dict[int, tuple[ModelRef, ...]]:
    """Map the steps of a model to those that were forked there, as far as the step is still what it was."""
    forks: dict[int, tuple[ModelRef, ...]] = {}
    for other, origin in children.items():
        if origin.hop.ref.model == model and origin.attach is not None and origin.where is Whereabouts.HERE:
            forks[origin.attach] = (*forks.get(origin.attach, ()), other)
    return forks


def _merges(draft: _Draft, children: Mapping[ModelRef, Origin]) -> dict[int, tuple[CheckpointRef, ...]]:
    """Map the steps of a model to the branches that they are the second parent of."""
    merges: dict[int, tuple[CheckpointRef, ...]] = {}
    for child, origin in children.items():
        second = origin.hop.merge.other if origin.hop.merge else None
        if second and second.ref.model == draft.model and second.step in draft.steps:
            merges[second.step] = (*merges.get(second.step, ()), child.at(origin.hop.step))
    return merges


def _sources_first(branches: list[TreeBranch]) -> list[TreeBranch]:
    """Order by project, and in it each branch after the one it was forked from."""
    by_model = {branch.model: branch for branch in branches}
    forks: dict[ModelRef, list[TreeBranch]] = {}
    ordered: dict[ModelRef, TreeBranch] = {}
    for branch in branches:
        source = branch.origin.hop.ref.model if branch.origin else None
        if source in by_model and source.project == branch.model.project:
            forks.setdefault(source, []).append(branch)
    forked = {branch.model for others in forks.values() for branch in others}
    roots = [branch for branch in branches if branch.model not in forked]
    # Two models that were forked onto each other in turn have no root: they follow in their own order.
    pending = [*branches[::-1], *sorted(roots, key=lambda branch: branch.model, reverse=True)]
    while pending:
        branch = pending.pop()
        if branch.model not in ordered:
            ordered[branch.model] = branch
            pending += reversed(forks.get(branch.model, []))
    return sorted(ordered.values(), key=lambda branch: branch.model.project)
