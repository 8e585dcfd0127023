"""The slow, plain way to the same loss: every row alone, in full, through a PEFT model that was opened from files."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain

import torch
from peft import PeftModel
from torch import Tensor

from art.config import TrainConfig
from art.trajectories import TrajectoryGroup, sampled_tokens


def plain_scores(
    model: torch.nn.Module, prompt: Sequence[int], said: Sequence[int], temperature: float
) -> tuple[Tensor, Tensor]:
    """Give the log-probability and the entropy of each token that was said."""
    logits = model(input_ids=torch.tensor([[*prompt, *said]])).logits[0].float() / (temperature or 1.0)
    logps = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return logps[range(len(said)), list(said)], -(logps.exp() * logps).sum(-1)


def plain_advantages(groups: Sequence[TrajectoryGroup], config: TrainConfig) -> list[list[float]]:
    rewards = [[trajectory.reward for trajectory in group] for group in groups]
    found = []
    for rewards_G in rewards:
        others = [
            statistics.fmean(rewards_G[:i] + rewards_G[i + 1 :])
            if config.leave_one_out
            else statistics.fmean(rewards_G)
            for i in range(len(rewards_G))
        ]
        std = {
            "group": statistics.pstdev(rewards_G),
            "batch": statistics.pstdev(chain.from_iterable(rewards)),
            "none": 1,
        }
        spread = std["none" if not config.scale_rewards else "batch" if config.scale_rewards == "batch" else "group"]
        weaken = [
            1.0 if (r - o) * config.advantage_balance >= 0 else 1 - abs(config.advantage_balance)
            for r, o in zip(rewards_G, others, strict=True)
        ]
        found.append([(r - o) / spread * w for r, o, w in zip(rewards_G, others, weaken, strict=True)])
    return found


def plain_loss(
    model: PeftModel, groups: Sequence[TrajectoryGroup], config: TrainConfig, *, earlier: PeftModel | None = None
) -> Tensor:
    """The loss of one optimiser step on single-turn rollouts, term by term as the papers have it.

    KL is from an `earlier` model, from the base without one.
    """
    rows = []
    for group, advantages in zip(groups, plain_advantages(groups, config), strict=True):
        for trajectory, advantage in zip(group, advantages, strict=True):
            sampled = sampled_tokens(trajectory.messages_and_choices[-1])
            arguments = (sampled.prompt_ids, sampled.token_ids, sampled.temperature)
            logps, entropies = plain_scores(model, *arguments)
            with torch.no_grad(), nullcontext() if earlier else model.disable_adapter():
                reference, _ = plain_scores(earlier or model, *arguments)
            rows.append((logps, entropies, reference, torch.tensor(sampled.logprobs), advantage))
    drifts = [(old if config.kl_penalty_source == "sample" else logps.detach()) - ref for logps, _, ref, old, _ in rows]
    mean_drift = torch.cat(drifts).mean()
    losses = []
    for (logps, entropies, reference, old, advantage), drift in zip(rows, drifts, strict=True):
        shaped = advantage + config.kl_penalty_coef * (mean_drift - drift)
        start = logps.detach() if has_own_ratio(config) else old
        loss = plain_policy_loss(logps, start, old, shaped, config)
        loss = loss + config.beta * (torch.exp(reference - logps) - (reference - logps) - 1)
        losses.append(loss - config.entropy_bonus * entropies)
    if config.aggregate == "trajectory":
        return torch.stack([loss.mean() for loss in losses]).mean()
    summed = torch.cat(losses).sum()
    return summed / (len(torch.cat(losses)) if config.aggregate == "token" else len(losses) * config.constant_length)


def has_own_ratio(config: TrainConfig) -> bool:
    """Tell whether ratios are to the trainer at the start of the step, and not to the sampler."""
    return config.precalculate_logprobs or config.truncated_importance_sampling is not None


def plain_policy_loss(logps: Tensor, old: Tensor, sampler: Tensor, advantage: Tensor, config: TrainConfig) -> Tensor:
    """The loss of each token of a sequence, by its ratio to what was found before, `old`."""
    token, sequence = torch.exp(logps - old), torch.exp((logps - old).mean()).expand(len(logps))
    ratio = {
        "token": token,
        "sequence": sequence,
        "average": (token + sequence) / 2,
        "geometric_average": torch.sqrt(token * sequence),
    }["sequence" if config.loss == "gspo" else config.importance_sampling_level]
    low = config.epsilon or {"cispo": 1.0, "ppo": 0.2, "gspo": 3e-4}.get(config.loss, 1.0)
    high = config.epsilon_high or {"cispo": 4.0, "ppo": low, "gspo": 4e-4}.get(config.loss, 1.0)
    kept = ((ratio > 1 - low) & (ratio < 1 + high)) if config.mask_prob_ratio else torch.ones_like(ratio)
    advantage = advantage - config.kimi_k2_tau * (logps - old).detach()
    if config.dual_clip:
        ratio = torch.where(advantage < 0, ratio.clip(max=config.dual_clip), ratio)
    bounded = torch.clip(ratio, 1 - low, 1 + high)
    if config.loss == "cispo":
        loss = -bounded.detach() * advantage * logps
    elif callable(config.loss):
        loss = -advantage * logps  # that of the tests
    else:
        loss = -torch.min(ratio * advantage, bounded * advantage)
    if config.truncated_importance_sampling:
        loss = loss * torch.exp(old - sampler).clip(max=config.truncated_importance_sampling)
    if config.off_policy_mask:
        gone = (sampler - logps.detach()).mean() > config.off_policy_mask
        loss = torch.where((advantage < 0) & gone, torch.zeros_like(loss), loss)
    return loss * kept
