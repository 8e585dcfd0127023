"""How much likelier a token has become: the importance ratio, per token or per sequence.

The ratio of a sequence is the geometric mean of its tokens' (GSPO, arXiv 2507.18071).
"""

from __future__ import annotations

import torch
from torch import Tensor

from art.config import Level
from art.train.loss.vectors import Vectors

# e^20: no ratio beyond it carries information, and exp stays finite, so that a clipped token's gradient is 0, not NaN.
MAX_LOG_RATIO = 20.0


def importance_ratio(vectors: Vectors, level: Level) -> Tensor:
    """Give each token's ratio of the trainer's probability to the old one."""
    log_ratio_N = vectors.logp_N - vectors.old_logp_N
    if level == "token":
        return bounded_exp(log_ratio_N)
    sequence_N = bounded_exp(sequence_mean(log_ratio_N, vectors))
    if level == "sequence":
        return sequence_N
    token_N = bounded_exp(log_ratio_N)
    return (token_N + sequence_N) / 2 if level == "average" else (token_N * sequence_N).sqrt()


def sequence_mean(value_N: Tensor, vectors: Vectors) -> Tensor:
    """Give each token the mean of the value over the unmasked tokens of its sequence."""
    sequences = int(vectors.sequence_N.max()) + 1
    # A product with a matrix of zeros and ones, not `index_add`: on CUDA that adds in an order of its own every time.
    sequence_S = torch.arange(sequences, device=value_N.device)
    member_SN = ((vectors.sequence_N == sequence_S[:, None]) & vectors.mask_N).to(value_N.dtype)
    mean_S = (member_SN * value_N).sum(-1) / member_SN.sum(-1).clamp(min=1)
    return mean_S[vectors.sequence_N]


def bounded_exp(log_ratio_N: Tensor) -> Tensor:
    """Give e to a power that is kept between two bounds."""
    return log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
