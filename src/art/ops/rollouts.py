"""The rollouts of a step: what was asked, what the model answered, and what it earned. Reads recorded trajectories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from openai.types.chat.chat_completion import Choice

from art.names import CheckpointRef
from art.ops.recording import read_lines
from art.ops.scenarios import digest_of, prompt_of
from art.sampled import find_sampled
from art.store.history import HistoryStore
from art.trajectories import Trajectory, TrajectoryGroup


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of a conversation."""

    role: str
    text: str
    calls: tuple[tuple[str, str], ...] = ()
    """Names and arguments of tool calls."""
    finish: str | None = None
    """Why the model stopped, where it spoke."""
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One trajectory of a group."""

    reward: float
    advantage: float
    is_malformed: bool
    metrics: Mapping[str, float | int | bool]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, kw_only=True)
class RolloutGroup:
    """Rollouts of one prompt."""

    key: str
    """Digest of the prompt's messages: the same prompt has the same key at every step."""
    prompt: tuple[Turn, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def mean(self) -> float:
        return fmean(rollout.reward for rollout in self.rollouts)

    @property
    def std(self) -> float:
        return pstdev(rollout.reward for rollout in self.rollouts)


def rollout_steps(root: Path, ref: CheckpointRef, split: str) -> list[int]:
    """List the steps of a model that have recorded rollouts."""
    return HistoryStore(root).trajectory_steps(ref.model, split=split)


def read_rollouts(root: Path, ref: CheckpointRef, split: str) -> list[RolloutGroup]:
    """Read the groups of a step, the worst mean reward first; none where nothing was recorded.

    A rollout whose reward is no number cannot be compared, and is left out.
    """
    lines = HistoryStore(root).read_trajectories(ref.model, ref.step, split=split)
    groups = (rollout_group(group) for group in read_lines(lines))
    return sorted((group for group in groups if group), key=lambda group: group.mean)


def rollout_group(group: TrajectoryGroup) -> RolloutGroup | None:
    """Say what a group was asked, answered and earned; None where no reward of it is a number."""
    trajectories = [each for each in group if math.isfinite(each.reward)]
    if not trajectories:
        return None
    prompt = prompt_of(trajectories[0])
    rewards = [trajectory.reward for trajectory in trajectories]
    mean, std = fmean(rewards), pstdev(rewards)
    return RolloutGroup(
        key=digest_of(prompt),
        prompt=tuple(_turn(item) for item in prompt),
        rollouts=tuple(
            _rollout(each, (each.reward - mean) / std if std else 0.0, len(prompt)) for each in trajectories
        ),
    )


def _rollout(trajectory: Trajectory, advantage: float, prompt_length: int) -> Rollout:
    turns = tuple(_turn(item) for item in trajectory.messages_and_choices[prompt_length:])
    malformed = trajectory.metrics.get("malformed")
    return Rollout(
        reward=trajectory.reward,
        advantage=advantage,
        is_malformed=bool(malformed) if malformed is not None else any(turn.finish == "length" for turn in turns),
        metrics=trajectory.metrics,
        turns=turns,
    )


def _turn(item: Any) -> Turn:
    if isinstance(item, Choice):
        message = item.message.model_dump(mode="json", exclude_none=True)
        sampled = find_sampled(item)
        tokens = len(sampled.token_ids) if sampled else None
        return _spoken(message, finish=item.finish_reason, tokens=tokens)
    return _spoken(item if isinstance(item, dict) else dict(item))


def _spoken(message: Mapping[str, Any], *, finish: str | None = None, tokens: int | None = None) -> Turn:
    calls = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    return Turn(
        role=str(message.get("role", "")),
        text=text_of(message.get("content")),
        calls=tuple((str(call.get("name", "")), str(call.get("arguments", ""))) for call in calls),
        finish=finish,
        tokens=tokens,
    )


def text_of(content: Any) -> str:
    """Give the text of a message's content, of its parts where it has some."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
