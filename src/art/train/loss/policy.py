"""The two ways in which an advantage and a ratio become a loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Policy:
    """The loss of each token, and which tokens were held back by the bounds of the ratio."""

    loss_N: Tensor
    clipped_N: Tensor


def ppo(ratio_N: Tensor, advantage_N: Tensor, *, low: float, high: float) -> Policy:
    """Stop a token that has moved far enough already (PPO, arXiv 1707.06347; two bounds: DAPO, arXiv 2503.14476)."""
    bounded_N = ratio_N.clamp(1 - low, 1 + high)
    loss_N = -torch.minimum(ratio_N * advantage_N, bounded_N * advantage_N)
    return Policy(loss_N, ratio_N * advantage_N > bounded_N * advantage_N)


def cispo(ratio_N: Tensor, advantage_N: Tensor, logp_N: Tensor, *, low: float, high: float) -> Policy:
    """Weigh a token by its bounded ratio: the weight is a constant, so that a clipped token still teaches.

    CISPO (MiniMax-M1, arXiv 2506.13585).
    """
    ratio_N = ratio_N.detach()
    bounded_N = ratio_N.clamp(1 - low, 1 + high)
    return Policy(-bounded_N * advantage_N * logp_N, ratio_N != bounded_N)
