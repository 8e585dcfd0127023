"""Deleting checkpoints for good: which, what is kept, and what the disk gets back. Told before it is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from art.errors import ArtError, CheckpointNotFoundError, MetricNotFoundError
from art.format.pick import Best, Exact, candidates
from art.names import CheckpointRef, ModelRef
from art.ops.place import AnyPlace, Place, place_of
from art.ops.tree import read_tree


@dataclass(frozen=True)
class StepRange:
    """Steps of a model that a user named, both ends included; without an end as far as there are any."""

    model: ModelRef
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if self.first is None and self.last is None:
            return str(self.model)
        if self.first == self.last:
            return f"{self.model}@{self.first}"
        ends = ["" if end is None else str(end) for end in (self.first, self.last)]
        return f"{self.model}@{'..'.join(ends)}"

    def __contains__(self, step: int) -> bool:
        return (self.first is None or self.first <= step) and (self.last is None or step <= self.last)


@dataclass(frozen=True)
class Keep:
    """What of the named steps stays: the last ones of each model, and its best."""

    last: int = 0
    best: Best | None = None


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What will be deleted, and what the place gets back."""

    refs: tuple[CheckpointRef, ...]
    kept: tuple[CheckpointRef, ...]
    freed: Mapping[CheckpointRef, int]
    """Bytes, at each checkpoint that will be deleted; a file that several of them share counts at the first."""
    stamps: Mapping[CheckpointRef, object]
    """What changes when another checkpoint comes to lie at a step: that one was not meant."""

    def still(self, now: Removal) -> Removal:
        """Give what is in a later plan too: what was pinned, forked from or replaced meanwhile is not."""
        refs = tuple(ref for ref in self.refs if ref in now.stamps and now.stamps[ref] == self.stamps[ref])
        return replace(self, refs=refs, kept=now.kept)

    @property
    def freed_bytes(self) -> int:
        return sum(self.freed.values())


def plan_removal(where: AnyPlace, ranges: Sequence[StepRange], keep: Keep) -> Removal:
    """Choose what to delete; changes nothing. Raises `NotFoundError` for a range that names nothing."""
    place = place_of(where)
    named = sorted({ref for steps in ranges for ref in _named(place, steps)})
    kept = {ref for _, refs in groupby(named, key=lambda ref: ref.model) for ref in _kept(place, list(refs), keep)}
    doomed = tuple(ref for ref in named if ref not in kept)
    return removal_of(place, doomed, kept)


def removal_of(place: Place[Any], doomed: Sequence[CheckpointRef], kept: Iterable[CheckpointRef]) -> Removal:
    """Say what deleting checkpoints gives back, and which they are."""
    stamps = {ref: place.stamp(ref) for ref in doomed}
    return Removal(refs=tuple(doomed), kept=tuple(sorted(kept)), freed=place.freed_bytes(doomed), stamps=stamps)


def remove(where: AnyPlace, removal: Removal) -> Iterator[CheckpointRef]:
    """Delete what was planned; yields each checkpoint once it is gone.

    One that another process deleted is passed over; raises `ConflictError` for one that it replaced.
    """
    place = place_of(where)
    for ref in removal.refs:
        try:
            place.delete(ref, removal.stamps[ref])
        except CheckpointNotFoundError:
            continue
        yield ref


def _named(place: Place[Any], steps: StepRange) -> list[CheckpointRef]:
    numbers = place.steps(steps.model)
    chosen = [steps.model.at(step) for step in numbers if step in steps]
    if chosen:
        return chosen
    if not numbers:
        place.select(steps.model)  # says whether there is a model
    if steps.first is not None and steps.first == steps.last:
        if place.has_remains(steps.model.at(steps.first)):
            return [steps.model.at(steps.first)]
        place.select(steps.model, Exact(steps.first))  # says which steps there are
    raise CheckpointNotFoundError(f"{steps} names no checkpoint; {steps.model} has {numbers[0]} to {numbers[-1]}.")


def _kept(place: Place[Any], refs: Sequence[CheckpointRef], keep: Keep) -> Collection[CheckpointRef]:
    last = refs[len(refs) - keep.last :] if keep.last else []
    return {*last, *([_best(place, refs, keep.best)] if keep.best else [])}


def _best(place: Place[Any], refs: Sequence[CheckpointRef], best: Best) -> CheckpointRef:
    model = refs[0].model
    (branch,) = read_tree(place, [model], metric=best.metric)
    whole = {ref.step for ref in refs if _is_whole(place, ref)}
    chosen = candidates(best, whole, branch.scores)
    if not chosen:
        raise MetricNotFoundError(
            f"No step of {model} that was named has {best.metric!r}: none can be kept as the best. Nothing was deleted."
        )
    return model.at(chosen[0])


def _is_whole(place: Place[Any], ref: CheckpointRef) -> bool:
    try:
        place.open(ref)
    except ArtError:
        return False
    return True
