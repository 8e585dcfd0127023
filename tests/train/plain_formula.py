"""The loss of a batch of conversations in double precision, as the papers have it: no tensor of ours.

What is known of a token lies in tables under its number: `logp`, and what the sampler, the reference and the trainer
at the start of the step found.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from plain import has_own_ratio, plain_policy_loss
from torch import Tensor

from art.config import TrainConfig


@dataclass(frozen=True)
class Turn:
    """What the model said at once: the numbers of its tokens, and whether it was cut at the token limit."""

    tokens: tuple[int, ...]
    cut: bool = False


@dataclass(frozen=True)
class Told:
    """A trajectory: rows of turns that follow one another. One without rows cannot be trained on."""

    reward: float
    rows: tuple[tuple[Turn, ...], ...] = ()
    turn_rewards: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tables:
    """What is known of each token, by its number."""

    logp: Tensor
    sampler: Tensor
    reference: Tensor
    start: Tensor


def formula(groups: Sequence[Sequence[Told]], tables: Tables, config: TrainConfig) -> Tensor:
    """Give the loss of one optimiser step."""
    weighed = []  # each trajectory's losses, a token each
    every = advantages_of(groups, config)
    counted = [n for group, taught in zip(groups, every, strict=True) if taught for n in tokens_of(group, config)]
    mean_drift = drift_of(counted, tables, config).mean()
    for group, advantages in zip(groups, every, strict=True):
        for told, advantages_T in zip(group, advantages or [()] * len(group), strict=True):
            turns = iter(advantages_T)
            losses = [
                loss for row in told.rows if advantages for loss in row_losses(row, turns, tables, config, mean_drift)
            ]
            weighed += [losses] if losses else []
    if config.aggregate == "trajectory":
        return sum(sum(losses) / len(losses) for losses in weighed) / len(weighed)
    tokens = sum(map(len, weighed))
    return sum(map(sum, weighed)) / (tokens if config.aggregate == "token" else len(weighed) * config.constant_length)


def advantages_of(groups: Sequence[Sequence[Told]], config: TrainConfig) -> list[list[list[float]] | None]:
    """Give the advantage of each turn; None for a group that has nothing to teach."""
    every = [told.reward for group in groups for told in group]

    def relative(rewards: list[float], batch: list[float]) -> list[float]:
        if len(set(rewards)) < 2:
            return [0.0] * len(rewards)
        spread = {"group": rewards, "batch": batch}.get(config.advantage_scale)
        factor = len(rewards) / (len(rewards) - 1) if config.leave_one_out else 1.0
        std = 1.0 if spread is None else statistics.pstdev(spread) + 1e-6
        return [factor * (reward - statistics.fmean(rewards)) / std for reward in rewards]

    found: list[list[list[float]] | None] = []
    for group in groups:
        advantages = [[whole] * 9 for whole in relative([told.reward for told in group], every)]
        for turn in range(max(len(told.turn_rewards) for told in group)):
            having = [place for place, told in enumerate(group) if turn < len(told.turn_rewards)]
            later = [sum(group[place].turn_rewards[turn:]) for place in having]
            for place, own in zip(having, relative(later, later), strict=True):
                advantages[place][turn] += own
        balance = config.advantage_balance
        balanced = [[a * (1 - abs(balance)) if a * balance < 0 else a for a in turns] for turns in advantages]
        found.append(balanced if any(map(any, advantages)) else None)
    return found


def counts(turn: Turn, config: TrainConfig) -> bool:
    return not (turn.cut and config.mask_truncated)


def tokens_of(group: Sequence[Told], config: TrainConfig) -> list[int]:
    """Give the numbers of a group's tokens that count."""
    return [n for told in group for row in told.rows for turn in row if counts(turn, config) for n in turn.tokens]


def drift_of(numbers: Sequence[int], tables: Tables, config: TrainConfig) -> Tensor:
    """Give how much likelier tokens are than under the reference, by the trainer or by the sampler."""
    own = tables.sampler if config.kl_penalty_source == "sample" else tables.logp.detach()
    return (own - tables.reference)[list(numbers)]


def row_losses(
    row: Sequence[Turn], advantages, tables: Tables, config: TrainConfig, mean_drift: Tensor
) -> list[Tensor]:
    """Give the loss of each token of a row that counts."""
    told = [(turn, next(advantages)) for turn in row]
    counted = [(n, advantage) for turn, advantage in told if counts(turn, config) for n in turn.tokens]
    if not counted:
        return []
    numbers = [n for n, _ in counted]
    advantage = torch.tensor([advantage for _, advantage in counted], dtype=torch.float64)
    # As ART has the penalty: centred over all tokens of the step.
    advantage = advantage + config.kl_penalty_coef * (mean_drift - drift_of(numbers, tables, config))
    logp, sampler = tables.logp[numbers], tables.sampler[numbers]
    old = tables.start[numbers] if has_own_ratio(config) else sampler
    losses = plain_policy_loss(logp, old, sampler, advantage, config)
    apart = tables.reference[numbers] - logp
    return [*(losses + config.beta * (torch.exp(apart) - apart - 1) - config.entropy_bonus * entropy(logp))]


def entropy(logp: Tensor) -> Tensor:
    """Stand for the entropy of a token's distribution, which the formula only hands on."""
    return -logp * torch.exp(logp)
