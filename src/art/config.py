"""What a user sets for training. Values only; knows no tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from art.errors import ConfigurationError
from art.settings import ART, ART_LORA, ART_SFT, OURS, Names, nearest, refused, understood
from art.visible import shown_value

ALL_LINEAR = "all-linear"
MAX_RANK = 2**16
MAX_COUNT = 2**31
MAX_WEIGHT = 1e12
"""Of a number that others are multiplied by or compared with: with larger ones float32 overflows."""
MAX_POWER = 10


class _Settings(BaseModel):
    """Fields whose names are spelled right and whose values are possible, from the start and whenever one is set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False, defer_build=True)

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

    @classmethod
    def given(cls, config: Self | Mapping[str, Any] | None) -> Self:
        """Read what a script gave: a config, a mapping of settings, or nothing; raises `ConfigurationError`."""
        if isinstance(config, cls):
            return config
        if config is None or isinstance(config, Mapping):
            return cls(**(config or {}))
        raise ConfigurationError(f"{shown_value(config)} is no {cls.__name__}.")

    @property
    def ignored(self) -> tuple[str, ...]:
        """Settings of ART that were given and change nothing here, each with what it would need."""
        return self._ignored

    def with_settings(self, given: Mapping[str, Any]) -> Self:
        """Give these settings with others over them, all of them checked."""
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        meant = understood(given, fields=type(self).model_fields, names=self._names, where=type(self).__name__)
        combined = type(self)(**{**fields, **meant.fields})
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
    _names: ClassVar[Names] = ART_LORA

    rank: int = Field(default=8, gt=0, le=MAX_RANK)
    alpha: float = Field(default=16.0, gt=0, le=MAX_WEIGHT)
    targets: tuple[str, ...] | Literal["all-linear"] = ALL_LINEAR
    """Last parts of the names of the linear layers that get an adapter, or every one but the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


def read_shape(given: object) -> LoRAConfig | None:
    """Read the adapter's shape, by our names or ART's; None stays None. Raises `ConfigurationError`."""
    if given is None or isinstance(given, LoRAConfig):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"lora_config={shown_value(given)}: give a LoRAConfig, or its fields.")
    return LoRAConfig(**given)


Rate = Annotated[float, Field(ge=0, le=1)]
DecayRate = Annotated[float, Field(ge=0, lt=1)]
Bound = Annotated[float, Field(gt=0, le=MAX_WEIGHT)]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
Count = Annotated[int, Field(gt=0, le=MAX_COUNT)]
Step = Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)]
PassTokens = Count | Literal["auto"]


Level = Literal["token", "sequence", "average", "geometric_average"]
Loss = Literal["cispo", "ppo", "gspo"] | Callable[[Any], Any]
CLIP_RANGES: Mapping[str, tuple[float, float | None]] = {
    "cispo": (1.0, 4.0),
    "ppo": (0.2, None),
    "gspo": (3e-4, 4e-4),  # arXiv 2507.18071, section 5.1
}
"""How far below and above 1 a ratio is clipped where nobody says; None is as far as below."""
MAX_DIVERGENCE = 0.2
"""In nats a token. Rounding to 16 bits makes 0.03 on SmolLM2; a sampler's top_p of 0.7 that its log-probabilities
include makes 0.35, another system prompt 1.1, tools that the trainer does not know 3.3."""


def _none_is_zero(weight: object) -> object:
    """Read ART's word for leaving a term out."""
    return 0.0 if weight is None else weight


def _name(loss: Loss) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__qualname__", type(loss).__name__)


class TrainConfig(_Settings):
    """The values of one training step. They can be changed and copied, and ART's names for them are understood.

    What is not set is as in ART 0.5.23; docs/guides/training.md says when to set what.

    >>> config = TrainConfig(learning_rate=1e-5, loss_fn="ppo", kl_penalty_reference_step=500)
    >>> config.epsilon_high = 0.28
    >>> config.loss, config.clip_range, config.kl_reference
    ('ppo', (0.2, 0.28), 500)
    """

    _names: ClassVar[Names] = ART

    # How a step is taken
    learning_rate: Rate = 5e-6
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.99)
    """AdamW's decay rates."""
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: Rate = 0.1
    max_grad_norm: Bound = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over `total_steps`, after a linear warm-up over `warmup_steps`."""
    warmup_steps: int = Field(default=0, ge=0, le=MAX_COUNT)
    total_steps: Count | None = None
    num_trajectories_learning_rate_multiplier_power: float = Field(default=0.0, ge=-MAX_POWER, le=MAX_POWER)
    """The rate is multiplied by this power of the number of trajectories in the optimiser step."""

    # What an optimiser step learns from
    packed_sequence_length: Count | None = None
    """Tokens of a sequence, a shared prompt counted once; None is the longest row's, rounded up to 2,048."""
    grad_accumulation_sequences: Count | None = None
    """Sequences that make one optimiser step; None is 1."""
    minibatches: Count | None = None
    """Optimiser steps that the batch is divided into, whatever its tokens are; in place of the two above."""
    epochs: Count = 1
    """How often the batch is gone through in one training step."""
    micro_batch_tokens: PassTokens = 16_384
    """Tokens that one forward pass may hold; more accumulate gradients. "auto" is what fits free memory at the first
    step, and is kept with the checkpoint: sums over passes round otherwise where passes are cut otherwise."""

    # Which loss
    loss: Annotated[Loss, PlainSerializer(_name, when_used="json")] = "cispo"
    epsilon: Bound | None = None
    """The importance ratio is clipped below 1 - epsilon; None is 1.0 (cispo), 0.2 (ppo), 0.0003 (gspo) ..."""
    epsilon_high: Bound | None = None
    """... and above 1 + epsilon_high; None is 4.0 (cispo), epsilon (ppo), 0.0004 (gspo)."""
    importance_sampling_level: Level = "token"
    aggregate: Literal["trajectory", "token", "constant"] = "trajectory"
    """Every trajectory weighs the same, every token does, or every token does whatever the lengths are."""
    constant_length: Count = 1024
    """What the losses of a trajectory's tokens are divided by with `aggregate="constant"`."""
    entropy_bonus: Weight = 0.0

    # Which advantage
    scale_rewards: bool | Literal["group", "batch", "none"] = True
    """Divide advantages by the standard deviation of the group's rewards, of the batch's, or not (False)."""
    leave_one_out: bool = False
    """Compare a trajectory with the mean of the others of its group, not with that of all."""
    advantage_balance: float = Field(default=0.0, ge=-1, le=1)
    """Above 0 weakens bad trajectories, below 0 good ones; 1 learns from good ones alone."""

    # What holds the model back
    beta: Weight = 0.0
    """Weight of the KL divergence from the reference in the loss; 0 leaves it out."""
    kl_penalty_coef: Weight = 0.0
    """Weight of the centred KL penalty on the advantage."""
    kl_penalty_source: Literal["current_learner", "sample"] = "current_learner"
    """Whose log-probabilities the penalty compares with the reference: the trainer's, or the sampler's."""
    kl_reference: Literal["base"] | Step | Path = "base"
    """The base model without an adapter; a step, also one from before a fork; -3 for three steps ago; or a folder."""
    kimi_k2_tau: Annotated[Weight, BeforeValidator(_none_is_zero)] = 0.0

    # What a stale or foreign sampler may do
    precalculate_logprobs: bool = False
    """Compare with the trainer's log-probabilities at the start of the step instead of the sampler's."""
    truncated_importance_sampling: Bound | None = None
    """Weigh tokens by what trainer and sampler disagree on at the start of the step, at most so much."""
    dual_clip: Bound | None = None
    """The most that a ratio counts for where the advantage is negative."""
    mask_prob_ratio: bool = False
    """Leave tokens out whose ratio is not within the clip range, instead of clipping it."""
    off_policy_mask: Bound | None = None
    """Leave a bad trajectory out whose tokens the trainer finds so many nats less likely than the sampler did."""

    max_age: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """Leave trajectories out that were sampled more training steps ago."""
    max_divergence: Bound | Literal["auto"] | None = "auto"
    """Raise where trainer and sampler should agree, and differ by so many nats a token in the mean; None never. "auto"
    is 0.2, and None where the settings above correct for a sampler that is expected to differ."""

    # What is left out
    mask_truncated: bool = False
    """Leave answers out that ended at the token limit."""
    allow_training_without_logprobs: bool = False
    """Train also on answers that are only text: the chat template spells them, and their ratio is 1."""
    strict: bool = False
    """Raise for a trajectory that cannot be trained on, instead of leaving it out and counting it."""

    @model_validator(mode="after")
    def _one_division(self) -> Self:
        if self.minibatches and (self.packed_sequence_length or self.grad_accumulation_sequences):
            raise ValueError("minibatches takes the place of packed_sequence_length and grad_accumulation_sequences")
        return self

    @property
    def clip_range(self) -> tuple[float, float]:
        """How far below and above 1 the importance ratio may be."""
        low, high = CLIP_RANGES.get(self.loss_name, CLIP_RANGES["ppo"])
        low = low if self.epsilon is None else self.epsilon
        return low, (high or low) if self.epsilon_high is None else self.epsilon_high

    @property
    def loss_name(self) -> str:
        return _name(self.loss)

    @property
    def ratio_level(self) -> Level:
        """Whether the importance ratio is a token's or its sequence's."""
        return "sequence" if self.loss == "gspo" else self.importance_sampling_level

    @property
    def advantage_scale(self) -> Literal["group", "batch", "none"]:
        """Whose standard deviation advantages are divided by."""
        if isinstance(self.scale_rewards, str):
            return self.scale_rewards
        return "group" if self.scale_rewards else "none"

    @property
    def divergence_bound(self) -> float | None:
        """How much trainer and sampler may differ where they should agree, None for any amount."""
        if self.max_divergence != "auto":
            return self.max_divergence
        corrections = (self.max_age, self.truncated_importance_sampling, self.off_policy_mask)
        return MAX_DIVERGENCE if all(correction is None for correction in corrections) else None

    @property
    def needs_reference(self) -> bool:
        return bool(self.beta or self.kl_penalty_coef)


class TrainSFTConfig(_Settings):
    """The values of supervised fine-tuning: one training step, an optimiser step for each batch of trajectories.

    >>> TrainSFTConfig(learning_rate=[2e-4, 1e-4], batch_size=4).rate_of(1)
    0.0001
    """

    _names: ClassVar[Names] = ART_SFT

    learning_rate: Rate | list[Rate] = 5e-5
    """One rate, or one for each batch."""
    batch_size: Annotated[int, Field(le=MAX_COUNT)] | Literal["auto"] = "auto"
    """Trajectories in a batch; "auto" is 2, as in ART."""
    assistant_turns: Literal["all", "last"] = "all"
    """Which answers of a conversation are learned: all, or the last one of each."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.99)
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: Rate = 0.0
    max_grad_norm: Bound = 1.0
    micro_batch_tokens: PassTokens = 16_384
    strict: bool = False
    """Raise for a trajectory that cannot be trained on, instead of leaving it out and counting it."""

    @field_validator("batch_size")
    @classmethod
    def _at_least_one(cls, size: int | Literal["auto"]) -> int | Literal["auto"]:
        if size != "auto" and size < 1:
            raise ValueError("a batch has at least one trajectory")
        return size

    @property
    def trajectories(self) -> int:
        """How many trajectories a batch has."""
        return 2 if self.batch_size == "auto" else self.batch_size

    def rate_of(self, batch: int) -> float:
        """Give the learning rate of a batch, counted from 0; raises `ConfigurationError`."""
        if not isinstance(self.learning_rate, list):
            return self.learning_rate
        if batch < len(self.learning_rate):
            return self.learning_rate[batch]
        raise ConfigurationError(
            f"There are learning rates for {len(self.learning_rate)} batches of {self.trajectories}, and more "
            "trajectories than that. Give one rate for each batch, or a single one."
        )
