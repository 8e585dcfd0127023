"""How the losses of tokens add up to that of an optimiser step: what each token weighs, and what the sum is divided by.

Each token the same (DAPO, arXiv 2503.14476), each trajectory the same (GRPO, arXiv 2402.03300, and ART), or each token
the same whatever the lengths are (Dr. GRPO, arXiv 2503.20783).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from art.config import TrainConfig
from art.train.batch import Example


def token_weights(trajectory_tokens_N: Tensor, config: TrainConfig) -> Tensor:
    """Give what each token weighs, from how many loss tokens its trajectory has."""
    if config.aggregate == "trajectory":
        return 1 / trajectory_tokens_N
    return torch.full_like(trajectory_tokens_N, 1 if config.aggregate == "token" else 1 / config.constant_length)


def total_weight(examples: Iterable[Example], config: TrainConfig) -> float:
    """Give what an optimiser step's sum is divided by: its tokens, or its trajectories."""
    if config.aggregate == "token":
        return float(sum(example.loss_tokens for example in examples))
    # A trajectory counts as one in all, also when its rows lie in different optimiser steps.
    return math.fsum(example.loss_tokens / example.trajectory_tokens for example in examples)
