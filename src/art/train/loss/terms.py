"""The terms of the loss put together as a config asks for them, and what to report about each token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from art.config import TrainConfig
from art.errors import ConfigurationError
from art.train.loss.correction import capped_where_negative, inside, truncated_weight, trusted
from art.train.loss.divergence import divergence, pull
from art.train.loss.policy import Policy, cispo, ppo
from art.train.loss.ratio import importance_ratio
from art.train.loss.vectors import Vectors


@dataclass(frozen=True, kw_only=True)
class TokenTerms:
    """One value for each loss token."""

    loss_N: Tensor
    """All terms together; the gradient flows through it alone."""
    policy_N: Tensor
    kl_N: Tensor | None
    """The divergence from the reference, None without one."""
    ratio_N: Tensor
    approx_kl_N: Tensor
    """The divergence of the trainer's distribution from the sampler's."""
    clipped_N: Tensor


def token_terms(vectors: Vectors, config: TrainConfig) -> TokenTerms:
    """Compare the trainer's log-probabilities with the others. All float32."""
    ratio_N = importance_ratio(vectors, config.ratio_level)
    policy = _own_policy(vectors, config) if callable(config.loss) else _policy(vectors, ratio_N, config)
    loss_N = policy.loss_N
    kl_N = None if vectors.reference_logp_N is None else divergence(vectors.logp_N, vectors.reference_logp_N)
    if kl_N is not None and config.beta:
        loss_N = loss_N + config.beta * kl_N
    if config.entropy_bonus:
        loss_N = loss_N - config.entropy_bonus * vectors.entropy_N
    return TokenTerms(
        loss_N=loss_N,
        policy_N=policy.loss_N.detach(),
        kl_N=None if kl_N is None else kl_N.detach(),
        ratio_N=ratio_N.detach(),
        approx_kl_N=divergence(vectors.sampler_logp_N, vectors.logp_N.detach()),
        clipped_N=policy.clipped_N.detach(),
    )


def _policy(vectors: Vectors, ratio_N: Tensor, config: TrainConfig) -> Policy:
    low, high = config.clip_range
    advantage_N = vectors.advantage_N
    if config.kimi_k2_tau:
        advantage_N = advantage_N + pull(vectors.logp_N, vectors.old_logp_N, strength=config.kimi_k2_tau)
    weight_N = _weight(vectors, ratio_N, config)
    if config.dual_clip is not None:
        ratio_N = capped_where_negative(ratio_N, advantage_N, most=config.dual_clip)
    if config.loss == "cispo":
        policy = cispo(ratio_N, advantage_N, vectors.logp_N, low=low, high=high)
    else:
        policy = ppo(ratio_N, advantage_N, low=low, high=high)
    return Policy(policy.loss_N * weight_N, policy.clipped_N)


def _weight(vectors: Vectors, ratio_N: Tensor, config: TrainConfig) -> Tensor:
    """Give the product of all caps and masks that do not depend on the objective."""
    weight_N = torch.ones_like(vectors.logp_N, requires_grad=False)
    if config.truncated_importance_sampling is not None:
        weight_N = weight_N * truncated_weight(vectors, most=config.truncated_importance_sampling)
    if config.mask_prob_ratio:
        low, high = config.clip_range
        weight_N = weight_N * inside(ratio_N.detach(), low=low, high=high)
    if config.off_policy_mask is not None:
        weight_N = weight_N * trusted(vectors, most=config.off_policy_mask)
    return weight_N


def _own_policy(vectors: Vectors, config: TrainConfig) -> Policy:
    """Ask the user's function, and check that it answers with a loss for each token."""
    assert callable(config.loss)
    loss_N = config.loss(vectors)
    if not isinstance(loss_N, Tensor) or loss_N.shape != vectors.logp_N.shape or not loss_N.requires_grad:
        raise ConfigurationError(
            f"The loss {config.loss_name} gave {_words(loss_N)}. It gives a tensor with one loss for each token, of "
            f"shape {tuple(vectors.logp_N.shape)}, through which the gradient flows to logp_N."
        )
    return Policy(loss_N.float(), torch.zeros_like(vectors.mask_N))


def _words(given: object) -> str:
    if not isinstance(given, Tensor):
        return f"a {type(given).__name__}"
    return f"a tensor of shape {tuple(given.shape)}{'' if given.requires_grad else ' without gradient'}"
