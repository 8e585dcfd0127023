"""What a loss is computed from. Axis N: the loss tokens of one micro-batch, in the same order in every vector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """One value for each loss token. A `loss` of your own gets them and returns as many losses.

    Rows are never divided, so that a sum over a sequence is whole; a trajectory of several rows may have some of them
    in another micro-batch.
    """

    logp_N: Tensor
    """The trainer's log-probability, at the temperature of sampling; the gradient flows through it."""
    entropy_N: Tensor
    """Of the distribution that the token was drawn from; with a gradient if `entropy_bonus` is set."""
    sampler_logp_N: Tensor
    """The sampler's log-probability; where the sampler gave none, the trainer's own."""
    old_logp_N: Tensor
    """What the importance ratio compares with: the sampler's, or the trainer's at the start of the training step."""
    reference_logp_N: Tensor | None
    """The KL reference's, None without one."""
    advantage_N: Tensor
    """Of the trajectory, plus that of the turn and the KL penalty where these are used."""
    trajectory_N: Tensor
    """Equal numbers belong to the same trajectory."""
    sequence_N: Tensor
    """Equal numbers belong to the same row of tokens; counted from 0."""
    mask_N: Tensor
    """False for the tokens of an answer that was cut, with `mask_truncated`: their loss is left out."""
