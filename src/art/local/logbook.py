"""What a script logs about a model: the step that it belongs to, its means, and what training has written already.

Knows trajectories, checkpoints and histories; knows no trainer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, SupportsFloat

from art.errors import ConfigurationError, MetricNotFoundError
from art.names import ModelRef
from art.ops.recording import as_line
from art.store.history import TRAIN, HistoryStore
from art.store.state import States
from art.store.store import CheckpointStore
from art.trajectories import TrajectoryGroup, mean_reward


class Logbook:
    """Writes to the histories below one root, and finds the best step in them."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._history = HistoryStore(store.root)
        self._states = States(store.root)

    def write(
        self,
        model: ModelRef,
        groups: Sequence[TrajectoryGroup],
        *,
        split: str,
        metrics: Mapping[str, float],
        step: int | None,
    ) -> None:
        """Write groups and metrics at `step`, or at the newest one.

        Groups that the model learned from are written already, at the step whose weights made them: there go their
        means, and the metrics of the update are left out, because they are there too.
        """
        learned_at = _learned_at(groups) if split == TRAIN else None
        number = self._newest(model) if step is None else step
        at = number if learned_at is None else learned_at
        update = at + 1 if learned_at is not None else number
        known = self._metrics_of_update(model, update) if split == TRAIN else {}
        told = {**means(groups), **{name: _number(name, value) for name, value in metrics.items()}}
        new = {name: value for name, value in told.items() if name not in known or known[name] != value}
        lines = [as_line(group) for group in groups if learned_at is None or not _is_learned(group)]
        if lines:
            self._history.append_trajectories(model, at, split=split, trajectories=lines)
        if new:
            self._history.append(model, at, split=split, metrics=new)

    def note(self, model: ModelRef, state: dict[str, Any]) -> None:
        """Note a state of the script's own where the model stands; it is on the disk when this returns."""
        self._states.append(model, self._store.newest(model), state)

    def noted(self, model: ModelRef) -> dict[str, Any] | None:
        """Give the state that was noted where the model stands."""
        return self._states.find(model, self._store.newest(model))

    def describe(self, model: ModelRef, settings: Mapping[str, Any]) -> None:
        """Note what trackers are to show as settings of the model, wherever it stands."""
        self._states.describe(model, settings)

    def judged_by(self, model: ModelRef, metric: str | None) -> str | None:
        """Give the metric that tells the best step, by default `val/reward` or else `train/reward`.

        None where nothing was logged and nothing trained; raises `MetricNotFoundError` for a metric that was asked for
        and never was logged.
        """
        segments = self._store.segments(model)
        names = [metric] if metric else ["val/reward", "train/reward"]
        for name in names:
            if self._history.scores(segments, name):
                return name
        if metric is None:
            return None
        known = sorted({name for entry in self._history.read_lineage(segments) for name in entry.metrics})
        if not known and self._store.newest(model) is None:
            return None  # a loop that cleans up before its first step
        raise MetricNotFoundError(f"{model} has no metric {metric!r}; it has {', '.join(known) or 'none'}.")

    def _newest(self, model: ModelRef) -> int:
        newest = self._store.newest(model)
        return newest.ref.step if newest else 0

    def _metrics_of_update(self, model: ModelRef, step: int) -> Mapping[str, float | None]:
        checkpoint = self._store.find(model.at(step))
        return checkpoint.description.metrics if checkpoint else {}


def means(groups: Sequence[TrajectoryGroup]) -> dict[str, float]:
    """Average rewards and metrics over the trajectories and groups that have them, and count what failed."""
    trajectories = [trajectory for group in groups for trajectory in group]
    if not groups:
        return {}
    failed = sum(len(group.exceptions) for group in groups)
    counted = {"exceptions": float(failed), "exception_rate": failed / (failed + len(trajectories) or 1)}
    of_groups = _averages({f"group_{name}": value for name, value in group.metrics.items()} for group in groups)
    if not trajectories:
        return {**of_groups, **counted}
    # A reward that a script has set may be a number of NumPy, which `statistics` mixes with no other.
    stds = [_spread([float(trajectory.reward) for trajectory in group]) for group in groups if len(group)]
    rewards = {"reward": mean_reward(trajectories), "reward_std_dev": fmean(stds)}
    return {**rewards, **_averages(trajectory.metrics for trajectory in trajectories), **of_groups, **counted}


def _spread(rewards: Sequence[float]) -> float:
    try:
        return pstdev(rewards) if all(map(math.isfinite, rewards)) else math.nan
    except OverflowError:
        return math.nan


def _averages(mappings: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for metrics in mappings:
        for name, value in metrics.items():
            if value is not None:  # a script's word for what was not measured
                values.setdefault(name, []).append(_number(name, value))
    return {name: fmean(of_name) for name, of_name in values.items()}


def _number(name: str, value: SupportsFloat) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The metric {name!r} is {value!r}; a metric is a number.") from error


def _learned_at(groups: Sequence[TrajectoryGroup]) -> int | None:
    steps = [trajectory.learned_at for group in groups for trajectory in group]
    return max((step for step in steps if step is not None), default=None)


def _is_learned(group: TrajectoryGroup) -> bool:
    return len(group) > 0 and all(trajectory.learned_at is not None for trajectory in group)
