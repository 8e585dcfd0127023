"""Two checkpoints side by side: where their pasts part, what was set otherwise, and the same prompts through both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from art.format.lineage import segments
from art.names import CheckpointRef, ModelRef
from art.ops.changes import Change, changes_between
from art.ops.rollouts import RolloutGroup, read_rollouts
from art.ops.series import Series, series_of, stitched
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, VALIDATION, HistoryStore
from art.store.store import CheckpointStore


@dataclass(frozen=True)
class PairedPrompt:
    """One prompt that both checkpoints answered."""

    first: RolloutGroup
    second: RolloutGroup
    split: str = TRAIN

    @property
    def delta(self) -> float:
        return self.second.mean - self.first.mean

    @property
    def is_newly_malformed(self) -> bool:
        """Tell whether more of the second's answers are malformed."""
        first, second = (sum(each.is_malformed for each in group.rollouts) for group in (self.first, self.second))
        return second / len(self.second.rollouts) > first / len(self.first.rollouts)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a second checkpoint differs from a first."""

    first: CheckpointRef
    second: CheckpointRef
    part_at: CheckpointRef | None
    """The newest checkpoint in the past of both; None when they have none in common."""
    settings: tuple[Change, ...]
    metrics: Mapping[str, tuple[float | None, float | None]]
    prompts: tuple[PairedPrompt, ...]
    """The worst change first."""
    recorded: tuple[int, int]
    """How many prompts each of them has rollouts of."""


def compare(store: CheckpointStore, first: CheckpointRef, second: CheckpointRef) -> Comparison:
    """Compare two checkpoints; raises `CheckpointNotFoundError` for one that is not there."""
    one, other = store.open(first), store.open(second)
    before, after = (_earned(store, checkpoint) for checkpoint in (one, other))
    names = sorted(before.keys() | after.keys())
    prompts, recorded = _paired(store, first, second)
    return Comparison(
        first=first,
        second=second,
        part_at=_part_at(one, other),
        settings=tuple(changes_between(one.description.settings, other.description.settings)),
        metrics={name: (before.get(name), after.get(name)) for name in names},
        prompts=tuple(prompts),
        recorded=recorded,
    )


def _earned(store: CheckpointStore, checkpoint: Checkpoint) -> Mapping[str, float]:
    """Give what the weights of a checkpoint earned, from the history of its whole past."""
    history = HistoryStore(store.root)
    parts = segments(checkpoint.ref.model, checkpoint.description)
    past = stitched(_part(history, part.model).between(part.first, part.last) for part in parts)
    return next((row.metrics for row in past.rows if row.step == checkpoint.ref.step), {})


def _part(history: HistoryStore, model: ModelRef) -> Series:
    return series_of(history.read(model))


def _part_at(one: Checkpoint, other: Checkpoint) -> CheckpointRef | None:
    """Find where two pasts part: the last step of the longest stretch that both went through."""
    ours, theirs = (_stretches(checkpoint) for checkpoint in (one, other))
    shared = [
        model.at(min(last, theirs[model][1]))
        for model, (first, last) in ours.items()
        if model in theirs and min(last, theirs[model][1]) >= max(first, theirs[model][0])
    ]
    return max(shared, key=lambda ref: ref.step, default=None)


def _stretches(checkpoint: Checkpoint) -> dict[ModelRef, tuple[int, int]]:
    newest = checkpoint.ref.step
    parts = segments(checkpoint.ref.model, checkpoint.description)
    return {part.model: (part.first, newest if part.last is None else part.last) for part in parts}


def _paired(
    store: CheckpointStore, first: CheckpointRef, second: CheckpointRef
) -> tuple[list[PairedPrompt], tuple[int, int]]:
    pairs: list[PairedPrompt] = []
    ours = theirs = 0
    for split in (TRAIN, VALIDATION):
        groups = {group.key: group for group in read_rollouts(store.root, first, split)}
        others = read_rollouts(store.root, second, split)
        ours, theirs = ours + len(groups), theirs + len(others)
        pairs += [PairedPrompt(groups[group.key], group, split) for group in others if group.key in groups]
    return sorted(pairs, key=lambda pair: pair.delta), (ours, theirs)
