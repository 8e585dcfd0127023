"""What a user sets for training. Values only; knows no tensor."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ALL_LINEAR = "all-linear"


class LoRAConfig(BaseModel):
    """The shape of the low-rank adapter that is trained; fixed for the life of a model.

    >>> LoRAConfig(rank=16, targets=("q_proj", "v_proj")).alpha
    16.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] | Literal["all-linear"] = ALL_LINEAR
    """Last parts of the names of the linear layers that get an adapter, or every one but the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TrainConfig(BaseModel):
    """The values of one optimiser step.

    >>> TrainConfig(learning_rate=1e-5, beta=0.01).kl_reference
    'base'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=5e-6, ge=0, allow_inf_nan=False)
    beta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the KL divergence from the reference in the loss; 0 leaves it out."""
    kl_reference: Literal["base"] | int = "base"
    """The reference: the base model without an adapter, or an earlier step, also one from before a fork."""
    loss: Literal["ppo", "cispo"] = "ppo"
    epsilon: float = Field(default=0.2, gt=0)
    """The importance ratio is clipped below 1 - epsilon ..."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """... and above 1 + epsilon_high; epsilon where it is None."""
    scale_rewards: bool = True
    """Divide a group's advantages by the standard deviation of its rewards."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over `total_steps`, after a linear warm-up over `warmup_steps`."""
    warmup_steps: int = Field(default=0, ge=0)
    total_steps: int | None = Field(default=None, gt=0)
    micro_batch_tokens: int = Field(default=16_384, gt=0)
    """Tokens that one forward pass may hold, a shared prompt counted once; a larger batch accumulates gradients."""
