"""What tells one scenario of the training data from others. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from art.format.fields import MAX_KEY
from art.format.manifest import digest_bytes
from art.trajectories import Trajectory, TrajectoryGroup, as_choice

KEY_DIGITS = 16
NAMES = ("scenario_id", "scenario")
"""What a script's metadata may call a scenario's id."""


def scenarios_of(groups: Iterable[TrajectoryGroup]) -> tuple[str, ...]:
    """Name the scenario of each group that has trajectories: by the id in its metadata, or by its prompt."""
    return tuple(_scenario(group) for group in groups if len(group))


def prompt_of(trajectory: Trajectory) -> Sequence[Any]:
    """Give the messages before the model first spoke."""
    items = trajectory.messages_and_choices
    spoke = next((place for place, item in enumerate(items) if as_choice(item)), len(items))
    return items[:spoke]


def digest_of(prompt: Iterable[Any]) -> str:
    """Give a digest of a prompt's messages, the same at every step."""
    content = json.dumps(list(prompt), sort_keys=True, default=str, ensure_ascii=True)
    return digest_bytes(content.encode())[:KEY_DIGITS]


def _scenario(group: TrajectoryGroup) -> str:
    first = group.trajectories[0]
    for metadata in (group.metadata, first.metadata):
        for name in NAMES:
            value = metadata.get(name)
            if value is not None and str(value):
                return str(value) if len(str(value)) <= MAX_KEY else digest_of([value])
    return digest_of(prompt_of(first))
