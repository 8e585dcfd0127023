"""Rollouts as rows: one for each trajectory, with its group, its reward, its metrics and what was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from art.trajectories import Trajectory, TrajectoryGroup

COLUMNS = ("group", "rollout", "reward", "prompt", "answer", "metrics")


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """One trajectory."""

    group: int
    rollout: int
    reward: float
    messages: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float | int | bool]

    @property
    def cells(self) -> tuple[int, int, float, str, str, str]:
        """Its values, as `COLUMNS` names them."""
        spoke = next((place for place, each in enumerate(self.messages) if each.get("role") == "assistant"), None)
        prompt, answer = self.messages[:spoke], self.messages[spoke:] if spoke is not None else ()
        numbers = ", ".join(f"{name}={value:g}" for name, value in sorted(self.metrics.items()))
        return self.group, self.rollout, self.reward, as_text(prompt), as_text(answer), numbers


def rows_of(groups: Iterable[TrajectoryGroup]) -> list[ConversationRow]:
    """Number the trajectories of groups, both from 0."""
    return [
        _row(trajectory, group, place) for group, each in enumerate(groups) for place, trajectory in enumerate(each)
    ]


def as_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """Write messages below one another, each behind the name of its role."""
    return "\n".join(f"{message.get('role', '')}: {_content(message)}" for message in messages)


def _row(trajectory: Trajectory, group: int, place: int) -> ConversationRow:
    messages = [dict(message) for message in trajectory.messages()]
    reward = float(trajectory.reward)
    return ConversationRow(group=group, rollout=place, reward=reward, messages=messages, metrics=trajectory.metrics)


def _content(message: Mapping[str, Any]) -> str:
    calls = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    call_lines = "".join(f"\n{call.get('name', '')}({call.get('arguments', '')})" for call in calls)
    return f"{_text(message.get('content'))}{call_lines}"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
