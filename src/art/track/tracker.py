"""The seam: what is told to a tracker, and what every tracker promises. Knows values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from art.names import CheckpointRef, ModelRef
from art.trajectories import TrajectoryGroup


@dataclass(frozen=True, kw_only=True)
class Point:
    """The metrics of a step, named `split/name`, as they were written down at one time."""

    index: int
    """Its place among the points of the run; what it inherited comes first, and its own may begin after a gap."""
    step: int
    time_s: float
    """When it was written down, in seconds since 1970."""
    metrics: Mapping[str, float]
    inherited_from: ModelRef | None = None
    """The ancestor whose weights earned this, for a point from before the fork."""
    is_after_rewind: bool = False
    """Whether what was told before of later steps was left behind by a rewind."""


@dataclass(frozen=True, kw_only=True)
class RunParent:
    """What a run was forked from."""

    ref: CheckpointRef
    run: str
    """The name of the run that the parent was told as."""
    index: int
    """The last of that run's points that belongs to the past of the fork; -1 where none does."""
    where: str | None = None
    """The folder or the URL of the checkpoint, where it is still there."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a tracker shows as one curve: the whole past of a model."""

    model: ModelRef
    name: str
    """The model's name, with a number behind it where the model was told before as another run."""
    inherited: int = 0
    """How many points come from before the fork."""
    told: int = 0
    """How many points were told before, by this process or an earlier one."""
    parent: RunParent | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Tracker(Protocol):
    """Shows one run. Every method raises `TrackerError` where what it was told is not safe; it is told again then."""

    def open(self, run: Run) -> None:
        """Begin a run, or go on with one that was begun; called again when the run's settings have changed."""
        ...

    def log(self, points: Sequence[Point]) -> None:
        """Take points, in the order of their index; returns when they survive the end of this process.

        After a crash the last of them may come again, as they were: shown twice they say the same.
        """
        ...

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        """Take all conversations of a step, in place of those that were told of it before."""
        ...

    def close(self) -> None:
        """Let go of the run, which can be opened again; a second call does nothing."""
        ...
