"""Rewards that a judge gives: RULER ranks the trajectories of a group relative to each other."""

from art.rewards.ruler import DEFAULT_RUBRIC, RulerScore, ruler, ruler_score_group

__all__ = ["DEFAULT_RUBRIC", "RulerScore", "ruler", "ruler_score_group"]
