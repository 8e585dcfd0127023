"""How much better a trajectory did than its group. Knows rewards only.

The advantage is relative to the group's mean and divided by its standard deviation as in GRPO (DeepSeekMath,
arXiv 2402.03300); without the division as in Dr. GRPO (arXiv 2503.20783).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Keeps the quotient finite; far below any spread of rewards that means something.
STD_FLOOR = 1e-6


def group_advantages(rewards_G: Sequence[float], *, scale: bool) -> list[float] | None:
    """Give each member's advantage, None when all rewards are equal and there is nothing to learn from the group."""
    if min(rewards_G) == max(rewards_G):
        return None
    mean = math.fsum(rewards_G) / len(rewards_G)
    centred_G = [reward - mean for reward in rewards_G]
    if not scale:
        return centred_G
    std = group_std(rewards_G)
    return [centred / (std + STD_FLOOR) for centred in centred_G]


def group_std(rewards_G: Sequence[float]) -> float:
    """Give the standard deviation of all rewards of the group, which is the population here."""
    mean = math.fsum(rewards_G) / len(rewards_G)
    return math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards_G) / len(rewards_G))
