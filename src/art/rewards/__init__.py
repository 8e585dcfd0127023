"""Rewards that a judge gives, and those for how long an answer is.

RULER ranks the trajectories of a group relative to each other.
"""

from art.rewards.length import sampled_length, shorter_is_better, soft_overlong
from art.rewards.ruler import DEFAULT_RUBRIC, RulerScore, ruler, ruler_score_group

__all__ = [
    "DEFAULT_RUBRIC",
    "RulerScore",
    "ruler",
    "ruler_score_group",
    "sampled_length",
    "shorter_is_better",
    "soft_overlong",
]
