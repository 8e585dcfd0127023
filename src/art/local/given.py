"""What a user gives to be trained on, looked at before anything is begun."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from art.durations import Period, covered_s
from art.errors import TrainingDataError
from art.trajectories import Trajectory, TrajectoryGroup
from art.visible import shown_value

Given = TypeVar("Given")
Copied = TypeVar("Copied", bound=BaseModel)


def groups_of(given: Iterable[TrajectoryGroup | None]) -> list[TrajectoryGroup]:
    """List the groups; raises `TrainingDataError` for anything else. None stands where a judge gave a group up.

    One group may stand by itself, and a list of trajectories is a group, as it was in older releases of ART.
    """
    listed = [given] if isinstance(given, TrajectoryGroup) else _each(given)
    groups = [_as_group(group) for group in listed if group is not None]
    for group in groups:
        if not isinstance(group, TrajectoryGroup):
            raise _none("TrajectoryGroup", group)
    return groups


def _as_group(group: TrajectoryGroup | Sequence[Trajectory]) -> TrajectoryGroup:
    is_listed = isinstance(group, list | tuple) and all(isinstance(each, Trajectory) for each in group)
    return TrajectoryGroup(group) if is_listed else group  # pyright: ignore[reportReturnType] - refused below


def trajectories_of(given: Iterable[Trajectory]) -> list[Trajectory]:
    """List the trajectories; raises `TrainingDataError` for anything else."""
    trajectories = list(_each(given))
    for trajectory in trajectories:
        if not isinstance(trajectory, Trajectory):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _none("Trajectory", trajectory)
    return trajectories


def as_now(groups: Iterable[TrajectoryGroup]) -> list[TrajectoryGroup]:
    """Copy groups as they are now, so that what is trained on is what is written down, whatever their owner does next.

    Answers are not copied, nor what lies deeper in a message than its fields.
    """
    copies = list(map(_copied, groups))
    for group in copies:
        group.trajectories = list(map(_trajectory_as_now, group.trajectories))
    return copies


def _trajectory_as_now(trajectory: Trajectory) -> Trajectory:
    copied = _copied(trajectory)
    copied.additional_histories = list(map(_copied, copied.additional_histories))
    for history in (copied, *copied.additional_histories):
        items: list[Any] = history.messages_and_choices
        items[:] = [item.copy() if isinstance(item, dict) else item for item in items]
    return copied


def _copied(model: Copied) -> Copied:
    """Copy an object with its lists and mappings, but not what they hold."""
    copied = copy.copy(model)
    changing = {name: value.copy() for name, value in vars(copied).items() if isinstance(value, list | dict)}
    vars(copied).update(changing)
    return copied


def rollout_seconds(groups: Iterable[TrajectoryGroup]) -> dict[str, float]:
    """Give the seconds in which rollouts ran, those at once counted once; nothing where nobody knows."""
    trajectories = [trajectory for group in groups for trajectory in group]
    periods = [period for trajectory in trajectories if (period := _period(trajectory))]
    return {"rollout_seconds": covered_s(periods)} if periods else {}


def _period(trajectory: Trajectory) -> Period | None:
    """Say when a rollout ran: as whoever gathered it saw, or else as its own `duration` says."""
    duration: object = trajectory.metrics.get("duration")
    if trajectory.ran or not isinstance(duration, int | float):
        return trajectory.ran
    began_s = trajectory.start_time.timestamp()
    return began_s, began_s + duration


def _each(given: Iterable[Given]) -> Iterable[Given]:
    if not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _none("list", given)
    return given


def _none(kind: str, given: object) -> TrainingDataError:
    return TrainingDataError(f"{shown_value(given)} is no {kind}; nothing was trained.")
