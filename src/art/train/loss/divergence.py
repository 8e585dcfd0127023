"""How far the trainer is from another distribution: as a term of the loss, and as a penalty on the advantage."""

from __future__ import annotations

from torch import Tensor

from art.train.loss.ratio import MAX_LOG_RATIO


def divergence(logp_N: Tensor, other_logp_N: Tensor) -> Tensor:
    """Estimate KL(trainer || other) at each token by r - 1 - log r, r = other / trainer.

    Never negative, unbiased under the trainer's own samples, of low variance: GRPO's estimate (arXiv 2402.03300).
    """
    log_ratio_N = (other_logp_N - logp_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio_N.exp() - 1 - log_ratio_N


def drift(logp_N: Tensor, reference_logp_N: Tensor) -> Tensor:
    """Give how much likelier each token is than under the reference, in nats."""
    return (logp_N - reference_logp_N).detach()


def penalty(drift_N: Tensor, *, mean: float, coefficient: float) -> Tensor:
    """Give what tokens with more drift than the mean lose in advantage, and those with less gain.

    As ART has it: centred, so that the penalty moves probability between tokens and adds no advantage in sum.
    """
    return coefficient * (mean - drift_N)


def pull(logp_N: Tensor, old_logp_N: Tensor, *, strength: float) -> Tensor:
    """Give what a token loses in advantage for having become likelier in this step (Kimi K2, arXiv 2507.20534)."""
    return -strength * (logp_N - old_logp_N).detach()
