"""Rewards for how long an answer is, to be added to what it earned. Pure functions of lengths in tokens."""

from __future__ import annotations

from collections.abc import Sequence

from art.trajectories import Trajectory, as_choice, sampled_tokens


def soft_overlong(tokens: int, *, limit: int, buffer: int) -> float:
    """Punish an answer that comes near the limit: 0 up to `limit - buffer`, then down to -1 at the limit.

    Soft overlong punishment (DAPO, arXiv 2503.14476).

    >>> [soft_overlong(tokens, limit=100, buffer=20) for tokens in (50, 80, 90, 100, 120)]
    [0.0, 0.0, -0.5, -1.0, -1.0]
    """
    return -min(1.0, max(0, tokens - (limit - buffer)) / buffer)


def shorter_is_better(tokens_G: Sequence[int], right_G: Sequence[bool]) -> list[float]:
    """Favour the short among a group's right answers and punish the long: from 0.5 for the shortest to -0.5.

    A wrong answer gets no bonus for being short (Kimi k1.5, arXiv 2501.12599).

    >>> shorter_is_better([10, 20, 30, 10], [True, True, True, False])
    [0.5, 0.0, -0.5, 0.0]
    """
    shortest, longest = min(tokens_G), max(tokens_G)
    if shortest == longest:
        return [0.0] * len(tokens_G)
    bonuses_G = [0.5 - (tokens - shortest) / (longest - shortest) for tokens in tokens_G]
    return [bonus if right else min(0.0, bonus) for bonus, right in zip(bonuses_G, right_G, strict=True)]


def sampled_length(trajectory: Trajectory) -> int:
    """Count the tokens that the model sampled in all conversations of a trajectory."""
    items = (item for history in trajectory.histories() for item in history.messages_and_choices)
    choices = [choice for choice in map(as_choice, items) if choice]
    return sum(len(sampled.token_ids) for sampled in map(sampled_tokens, choices) if sampled)
