"""The slow, plain way to the same loss: every row alone, in full, through a PEFT model that was opened from files."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from art.config import TrainConfig
from art.trajectories import TrajectoryGroup, sampled_tokens


def open_with_peft(folder: Path, base: PreTrainedModel, *, trainable: bool = True) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property that it calls deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(base, folder, is_trainable=trainable).eval()


def plain_logps(model: torch.nn.Module, prompt: Sequence[int], said: Sequence[int], temperature: float) -> Tensor:
    logits = model(input_ids=torch.tensor([[*prompt, *said]])).logits[0].float() / (temperature or 1.0)
    logps = torch.log_softmax(logits, -1)
    return torch.stack([logps[len(prompt) + place - 1, token] for place, token in enumerate(said)])


def plain_loss(model: PeftModel, groups: Sequence[TrajectoryGroup], config: TrainConfig) -> Tensor:
    """The mean over loss tokens of single-turn rollouts, term by term as the papers have it."""
    terms: list[Tensor] = []
    for group in groups:
        rewards = [trajectory.reward for trajectory in group]
        for trajectory in group:
            advantage = trajectory.reward - statistics.fmean(rewards)
            if config.scale_rewards:
                advantage /= statistics.pstdev(rewards)
            sampled = sampled_tokens(trajectory.messages_and_choices[-1])
            arguments = (sampled.prompt_ids, sampled.token_ids, sampled.temperature)
            logps = plain_logps(model, *arguments)
            with torch.no_grad(), model.disable_adapter():
                reference = plain_logps(model, *arguments)
            for logp, ref, old in zip(logps, reference, sampled.logprobs, strict=True):
                terms.append(_policy_term(logp, old, advantage, config))
                if config.beta:
                    terms[-1] = terms[-1] + config.beta * (torch.exp(ref - logp) - (ref - logp) - 1)
    return torch.stack(terms).sum() / len(terms)


def _policy_term(logp: Tensor, old: float, advantage: float, config: TrainConfig) -> Tensor:
    ratio = torch.exp(logp - old)
    high = config.epsilon_high or config.epsilon
    bounded = torch.clip(ratio, 1 - config.epsilon, 1 + high)
    if config.loss == "cispo":
        return -bounded.detach() * advantage * logp
    return -torch.min(ratio * advantage, bounded * advantage)
