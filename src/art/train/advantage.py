"""How much better a trajectory did than its group. Knows rewards only.

The advantage is relative to the group's mean and divided by its standard deviation as in GRPO (DeepSeekMath, arXiv
2402.03300); divided by the batch's as in REINFORCE++ (arXiv 2501.03262); not divided as in Dr. GRPO (arXiv
2503.20783); relative to the mean of the others as in RLOO (arXiv 2402.14740).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Keeps the quotient finite; far below any spread of rewards that means something.
STD_FLOOR = 1e-6
ROUNDING = 1e-12
"""Relative to the largest of them, rewards that were added up in another order differ by less."""


def centred(rewards_G: Sequence[float], *, leave_one_out: bool = False) -> list[float] | None:
    """Give each member's distance from the group's mean, or from the mean of the others.

    None when all rewards are equal but for rounding, and there is nothing to learn from the group.
    """
    if len(rewards_G) < 2 or max(rewards_G) - min(rewards_G) <= ROUNDING * max(map(abs, rewards_G)):
        return None
    mean = math.fsum(rewards_G) / len(rewards_G)
    # r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
    factor = len(rewards_G) / (len(rewards_G) - 1) if leave_one_out else 1.0
    return [factor * (reward - mean) for reward in rewards_G]


def standard_deviation(rewards: Sequence[float]) -> float:
    """Give the standard deviation of all rewards there are: the population's."""
    mean = math.fsum(rewards) / len(rewards)
    return math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards))


def divided(advantages: Iterable[float], std: float) -> list[float]:
    """Give advantages in units of a standard deviation."""
    return [advantage / (std + STD_FLOOR) for advantage in advantages]


def balanced(advantage: float, *, balance: float) -> float:
    """Weaken bad examples by a balance above 0, and good ones by one below: 1 learns from good examples alone."""
    if advantage * balance >= 0:
        return advantage
    return advantage * (1 - abs(balance))


def returns(turn_rewards_T: Sequence[float]) -> list[float]:
    """Give what each turn led to: its own reward and those of all later turns."""
    total, sums = 0.0, list[float]()
    for reward in reversed(turn_rewards_T):
        total += reward
        sums.append(total)
    return sums[::-1]
