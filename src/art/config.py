"""What a user sets for training. Values only; knows no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from art.errors import ConfigurationError
from art.settings import ART, OURS, Names, nearest, refused, understood

ALL_LINEAR = "all-linear"


class _Settings(BaseModel):
    """Fields whose names are spelled right and whose values are possible, from the start and whenever one is set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    _names: ClassVar[Names] = OURS
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    if not TYPE_CHECKING:  # a type checker knows the fields, which this would hide

        def __init__(self, **given: Any) -> None:
            where = type(self).__name__
            meant = understood(given, fields=type(self).model_fields, names=self._names, where=where)
            try:
                super().__init__(**meant.fields)
            except ValidationError as error:
                raise refused(where, error) from None
            self._ignored = meant.ignored

    def __setattr__(self, name: str, value: Any) -> None:
        where, fields = type(self).__name__, type(self).model_fields
        if not name.startswith("_") and name not in fields:
            raise ConfigurationError(f"{where} has no setting {name!r}.{nearest(name, fields)}")
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise refused(where, error) from None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Settings of ART that were given and change nothing here, each with what it would need."""
        return self._ignored

    def with_settings(self, given: Mapping[str, Any]) -> Self:
        """Give these settings with others over them, all of them checked."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        meant = understood(given, fields=type(self).model_fields, names=self._names, where=type(self).__name__)
        combined = type(self)(**{**said, **meant.fields})
        combined._ignored = (*self._ignored, *meant.ignored)
        return combined

    def with_defaults(self, given: Mapping[str, Any]) -> Self:
        """Give these settings with others under them, for the fields that nobody has set."""
        return self.with_settings({name: value for name, value in given.items() if name not in self.model_fields_set})


class LoRAConfig(_Settings):
    """The shape of the low-rank adapter that is trained; fixed for the life of a model.

    >>> LoRAConfig(rank=16, targets=("q_proj", "v_proj")).alpha
    16.0
    """

    model_config = ConfigDict(frozen=True)

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] | Literal["all-linear"] = ALL_LINEAR
    """Last parts of the names of the linear layers that get an adapter, or every one but the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


Rate = Annotated[float, Field(ge=0, le=1)]
DecayRate = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(_Settings):
    """The values of one training step. They can be changed and copied, and ART's names for them are understood.

    >>> config = TrainConfig(learning_rate=1e-5, kl_penalty_reference_step=500)
    >>> config.beta = 0.01
    >>> config.kl_reference
    500
    """

    _names: ClassVar[Names] = ART

    learning_rate: Rate = 5e-6
    beta: float = Field(default=0.0, ge=0)
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
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.99)
    """AdamW's decay rates."""
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: Rate = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over `total_steps`, after a linear warm-up over `warmup_steps`."""
    warmup_steps: int = Field(default=0, ge=0)
    total_steps: int | None = Field(default=None, gt=0)
    micro_batch_tokens: int = Field(default=16_384, gt=0)
    """Tokens that one forward pass may hold, a shared prompt counted once; a larger batch accumulates gradients."""
