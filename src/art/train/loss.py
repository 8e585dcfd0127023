"""The loss of sampled tokens and what to report about them. Knows vectors over loss tokens, axis N; no model.

PPO's clipped ratio with bounds of their own above and below (DAPO, arXiv 2503.14476), or CISPO's clipped weight
(MiniMax-M1, arXiv 2506.13585); the divergence from the reference is estimated as in GRPO (arXiv 2402.03300).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from art.config import TrainConfig

# e^20: no ratio beyond it carries information, and exp stays finite, so that a clipped token's gradient is 0, not NaN.
MAX_LOG_RATIO = 20.0


@dataclass(frozen=True)
class TokenTerms:
    """One value for each loss token."""

    policy_N: Tensor
    kl_N: Tensor | None
    """The divergence from the reference, None without one."""
    ratio_N: Tensor
    approx_kl_N: Tensor
    """The divergence of the trainer's distribution from the sampler's."""
    clipped_N: Tensor

    def loss_N(self, beta: float) -> Tensor:
        return self.policy_N if self.kl_N is None else self.policy_N + beta * self.kl_N


def token_terms(
    logp_N: Tensor,
    sampler_logp_N: Tensor,
    *,
    advantage_N: Tensor,
    reference_logp_N: Tensor | None,
    config: TrainConfig,
) -> TokenTerms:
    """Compare the trainer's log-probabilities with the sampler's and the reference's. All float32."""
    log_ratio_N = (logp_N - sampler_logp_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio_N = log_ratio_N.exp()
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    bounded_N = ratio_N.clamp(1 - config.epsilon, 1 + high)
    if config.loss == "cispo":
        # The weight is a constant, so a clipped token still teaches; in PPO it would drop out.
        policy_N = -bounded_N.detach() * advantage_N * logp_N
        clipped_N = ratio_N != bounded_N
    else:
        policy_N = -torch.minimum(ratio_N * advantage_N, bounded_N * advantage_N)
        clipped_N = ratio_N * advantage_N > bounded_N * advantage_N
    return TokenTerms(
        policy_N=policy_N,
        kl_N=None if reference_logp_N is None else _divergence(reference_logp_N - logp_N),
        ratio_N=ratio_N.detach(),
        approx_kl_N=_divergence(log_ratio_N.detach()),
        clipped_N=clipped_N.detach(),
    )


def _divergence(log_ratio_N: Tensor) -> Tensor:
    """Estimate KL(sampled || other) by r - 1 - log r, r = other / sampled: never negative, unbiased, low variance."""
    log_ratio_N = log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio_N.exp() - 1 - log_ratio_N
