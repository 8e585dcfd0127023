"""What a user gives to be trained on, looked at before anything is begun."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from art.errors import TrainingDataError
from art.trajectories import Trajectory, TrajectoryGroup
from art.visible import shown_value

Given = TypeVar("Given")


def groups_of(given: Iterable[TrajectoryGroup | None]) -> list[TrajectoryGroup]:
    """List the groups; raises `TrainingDataError` for anything else. None stands where a judge gave a group up."""
    groups = [group for group in _each(given) if group is not None]
    for group in groups:
        if not isinstance(group, TrajectoryGroup):
            raise _none("TrajectoryGroup", group)
    return groups


def trajectories_of(given: Iterable[Trajectory]) -> list[Trajectory]:
    """List the trajectories; raises `TrainingDataError` for anything else."""
    trajectories = list(_each(given))
    for trajectory in trajectories:
        if not isinstance(trajectory, Trajectory):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _none("Trajectory", trajectory)
    return trajectories


def _each(given: Iterable[Given]) -> Iterable[Given]:
    if not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _none("list", given)
    return given


def _none(kind: str, given: object) -> TrainingDataError:
    return TrainingDataError(f"{shown_value(given)} is no {kind}; nothing was trained.")
