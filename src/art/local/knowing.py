"""Choices that a client has rebuilt, and that lost on the way which prompt, temperature and weights they came from.

They are known again by their tokens, as long as this process answered them lately. Knows conversations; no tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from art.http.recent import RecentAnswers
from art.sampled import find_sampled
from art.trajectories import History, MessageOrChoice, Trajectory, TrajectoryGroup, as_choice

HistoryT = TypeVar("HistoryT", bound=History)


def known_again(groups: Sequence[TrajectoryGroup], recent: RecentAnswers) -> list[TrajectoryGroup]:
    """Give the groups with what their answers lost; what the script holds stays as it is."""
    return [_known_group(group, recent) for group in groups]


def _known_group(group: TrajectoryGroup, recent: RecentAnswers) -> TrajectoryGroup:
    trajectories = [_known_trajectory(trajectory, recent) for trajectory in group.trajectories]
    if _are_same(trajectories, group.trajectories):
        return group
    known = copy.copy(group)
    known.trajectories = trajectories
    return known


def _known_trajectory(trajectory: Trajectory, recent: RecentAnswers) -> Trajectory:
    known = _known_history(trajectory, recent)
    others = [_known_history(history, recent) for history in trajectory.additional_histories]
    if _are_same(others, trajectory.additional_histories):
        return known
    return known.model_copy(update={"additional_histories": others})


def _known_history(history: HistoryT, recent: RecentAnswers) -> HistoryT:
    items = [_known_item(item, recent) for item in history.messages_and_choices]
    if _are_same(items, history.messages_and_choices):
        return history
    return history.model_copy(update={"messages_and_choices": items})


def _known_item(item: MessageOrChoice, recent: RecentAnswers) -> MessageOrChoice:
    choice = as_choice(item)
    sampled = find_sampled(choice) if choice else None
    if choice is None or sampled is None or (sampled.prompt_ids and sampled.version):
        return item
    known = recent.find(sampled)
    return choice.model_copy(update=known.as_fields()) if known else item


def _are_same(known: Sequence[object], given: Sequence[object]) -> bool:
    return all(one is other for one, other in zip(known, given, strict=True))
