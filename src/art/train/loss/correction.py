"""What keeps tokens of a stale or foreign sampler from doing harm: caps and masks of their weight."""

from __future__ import annotations

import torch
from torch import Tensor

from art.train.loss.ratio import bounded_exp, sequence_mean
from art.train.loss.vectors import Vectors


def capped_where_negative(ratio_N: Tensor, advantage_N: Tensor, *, most: float) -> Tensor:
    """Bound the ratio of tokens with a negative advantage, which PPO leaves unbounded above.

    The dual clip (arXiv 1912.09729), or two-sided clipping (INTELLECT-2, arXiv 2505.07291).
    """
    return torch.where(advantage_N < 0, ratio_N.clamp(max=most), ratio_N)


def truncated_weight(vectors: Vectors, *, most: float) -> Tensor:
    """Give the probability at the start of the training step over the sampler's, at most `most`.

    Truncated importance sampling corrects what sampler and trainer compute differently (IMPALA's bound, arXiv
    1802.01561, between an engine and a trainer of the same weights).
    """
    return bounded_exp(vectors.old_logp_N - vectors.sampler_logp_N).clamp(max=most)


def inside(ratio_N: Tensor, *, low: float, high: float) -> Tensor:
    """Tell which tokens have a ratio within the bounds: the others are left out rather than clipped."""
    return (ratio_N > 1 - low) & (ratio_N < 1 + high)


def trusted(vectors: Vectors, *, most: float) -> Tensor:
    """Tell which tokens are in sequences that may teach: good ones, and bad ones that the trainer would still say.

    A sequence with a negative advantage is left out once the trainer has moved away from it, by more than `most` a
    token in the mean (DeepSeek-V3.2, arXiv 2512.02556).
    """
    moved_N = sequence_mean(vectors.sampler_logp_N - vectors.logp_N.detach(), vectors)
    return (vectors.advantage_N >= 0) | (moved_N <= most)
