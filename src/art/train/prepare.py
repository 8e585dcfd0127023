"""From groups of trajectories to examples, in an order that does not depend on when each rollout came back.

Knows rewards and tokens; everything that can be wrong with the data is found here, before anything changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from art.errors import TrainingDataError
from art.train.advantage import group_advantages, group_std
from art.train.batch import Example
from art.train.tokenize import Limits, trajectory_rows
from art.trajectories import TrajectoryGroup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prepared:
    """What a step learns from, and what to report about its rewards."""

    examples: list[Example]
    """Only those of groups with something to teach."""
    reward: float
    reward_std: float
    """The mean of the groups' standard deviations."""
    trajectories: int
    groups: int
    groups_without_signal: int

    @property
    def loss_tokens(self) -> int:
        return sum(example.loss_tokens for example in self.examples)


def prepare(
    groups: Sequence[TrajectoryGroup], tokenizer: PreTrainedTokenizerBase, *, limits: Limits, scale_rewards: bool
) -> Prepared:
    """Check and tokenise a step's groups; raises `TrainingDataError`."""
    _check_groups(groups)
    examples: list[Example] = []
    stds: list[float] = []
    without_signal = 0
    for place, group in enumerate(groups):
        rows_G = [
            trajectory_rows(trajectory, tokenizer, limits=limits, where=f"Group {place}, trajectory {member}")
            for member, trajectory in enumerate(group.trajectories)
        ]
        rewards_G = [trajectory.reward for trajectory in group.trajectories]
        if rewards_G:
            stds.append(group_std(rewards_G))
        advantages_G = group_advantages(rewards_G, scale=scale_rewards) if rewards_G else None
        if advantages_G is None:
            without_signal += 1
            continue
        found = [
            Example(row, advantage)
            for rows, advantage in zip(rows_G, advantages_G, strict=True)
            for row in rows
            # A zero advantage still counts: its tokens are in the loss's denominator and its divergence in the loss.
        ]
        examples.extend(sorted(found, key=_canonical))
    rewards = [trajectory.reward for group in groups for trajectory in group.trajectories]
    return Prepared(
        examples=examples,
        reward=math.fsum(rewards) / len(rewards),
        reward_std=math.fsum(stds) / len(stds),
        trajectories=len(rewards),
        groups=len(groups),
        groups_without_signal=without_signal,
    )


def _canonical(example: Example) -> tuple[object, ...]:
    """Order rows by what is in them, to the last number that enters the loss."""
    row = example.row
    return row.token_ids, example.advantage, tuple((span.start, span.logprobs, span.temperature) for span in row.spans)


def _check_groups(groups: Sequence[TrajectoryGroup]) -> None:
    if not groups:
        raise TrainingDataError("There are no groups to train on. Pass at least one TrajectoryGroup.")
    for place, group in enumerate(groups):
        if group.pending:
            raise TrainingDataError(
                f"Group {place} has rollouts that were not awaited. Await it, or use art.gather_trajectory_groups."
            )
        for member, trajectory in enumerate(group.trajectories):
            if not isinstance(trajectory.reward, Real) or not math.isfinite(trajectory.reward):
                raise TrainingDataError(
                    f"Group {place}, trajectory {member}: its reward is {trajectory.reward}. Rewards are finite "
                    "numbers; raise an exception in the rollout instead, and the group goes on without it."
                )
    if not any(group.trajectories for group in groups):
        failures = [error for group in groups for error in group.exceptions]
        cause = f" The first of {len(failures)} exceptions: {failures[0]!r}" if failures else ""
        raise TrainingDataError(
            f"None of {len(groups)} groups has a trajectory; look at why every rollout failed.{cause}"
        )
