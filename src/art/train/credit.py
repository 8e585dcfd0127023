"""What each answer of a batch is to teach: the advantages of trajectories and of their turns. Knows rewards only.

The advantage of a turn is that of its trajectory plus its own: what it and the turns after it earned, compared with the
same turn of the others in the group (turn-level credit: arXiv 2505.11821).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from art.config import TrainConfig
from art.train.advantage import balanced, centred, divided, returns, standard_deviation


@dataclass(frozen=True)
class Earned:
    """The rewards of one trajectory: as a whole, and for each of its turns, if they have any."""

    reward: float
    turn_rewards: tuple[float, ...] = ()


@dataclass(frozen=True)
class Credit:
    """The advantages of one trajectory."""

    trajectory: float
    turns: tuple[float, ...]

    def of(self, turn: int | None, *, balance: float) -> float:
        """Give the advantage of a turn; None is one that has no reward of its own."""
        own = 0.0 if turn is None or not self.turns else self.turns[turn]
        return balanced(self.trajectory + own, balance=balance)


def credits_of(groups: Sequence[Sequence[Earned]], config: TrainConfig) -> list[list[Credit] | None]:
    """Give the advantages of every group, None for one whose rewards are all equal: it has nothing to teach."""
    rewards = [earned.reward for group in groups for earned in group]
    batch_std = standard_deviation(rewards) if rewards and config.advantage_scale == "batch" else None
    return [_of_group(group, config, batch_std) for group in groups]


def _of_group(group: Sequence[Earned], config: TrainConfig, batch_std: float | None) -> list[Credit] | None:
    whole_G = _advantages([earned.reward for earned in group], config, batch_std)
    turns_GT = _turn_advantages(group, config)
    if whole_G is None and not any(chain.from_iterable(turns_GT)):
        return None
    whole_G = whole_G or [0.0] * len(group)
    return [Credit(whole, tuple(turns_T)) for whole, turns_T in zip(whole_G, turns_GT, strict=True)]


def _advantages(rewards_G: Sequence[float], config: TrainConfig, batch_std: float | None = None) -> list[float] | None:
    advantages_G = centred(rewards_G, leave_one_out=config.leave_one_out)
    if advantages_G is None or config.advantage_scale == "none":
        return advantages_G
    return divided(advantages_G, standard_deviation(rewards_G) if batch_std is None else batch_std)


def _turn_advantages(group: Sequence[Earned], config: TrainConfig) -> list[list[float]]:
    """Compare each turn with the same turn of the others; one that no other trajectory has gets nothing."""
    returns_GT = [returns(earned.turn_rewards) for earned in group]
    advantages_GT = [[0.0] * len(returns_T) for returns_T in returns_GT]
    for turn in range(max(map(len, returns_GT), default=0)):
        having = [member for member, returns_T in enumerate(returns_GT) if turn < len(returns_T)]
        advantages = _advantages([returns_GT[member][turn] for member in having], config)
        for member, advantage in zip(having, advantages or [0.0] * len(having), strict=True):
            advantages_GT[member][turn] = advantage
    return advantages_GT
