"""ART's internal settings, as scripts write them: typed dicts that are accepted.

What has a meaning here is used; the rest is named once in a warning.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from art.absent import missing


class InitArgs(TypedDict, total=False):
    """How the base model is loaded."""

    max_seq_length: int
    load_in_4bit: bool
    dtype: str


class EngineArgs(TypedDict, total=False):
    """How inference runs."""

    max_num_seqs: int
    max_model_len: int


class PeftArgs(TypedDict, total=False):
    """The shape of the adapter."""

    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: list[str] | str


class LoRAConfig(TypedDict, total=False):
    """The shape of the adapter, as `TrainableModel(lora_config=...)` takes it."""

    rank: int
    alpha: float
    dropout: float
    target_modules: list[str] | str


class TrainerArgs(TypedDict, total=False):
    """How the optimiser steps."""

    max_grad_norm: float
    weight_decay: float
    adam_beta1: float
    adam_beta2: float


class TinkerTrainingClientArgs(TypedDict, total=False):
    """How Tinker trains; nothing here does."""

    rank: int


class TinkerArgs(TypedDict, total=False):
    """Settings of training at Tinker, for scripts that name them."""

    renderer_name: str
    training_client_args: TinkerTrainingClientArgs


class TinkerNativeArgs(TypedDict, total=False):
    """As `TinkerArgs`, of ART's other backend for Tinker."""

    renderer_name: str


class TorchtuneArgs(TypedDict, total=False):
    """Settings of torchtune, with which older releases of ART could train."""

    model: str
    model_type: str


class InternalModelConfig(TypedDict, total=False):
    """Everything that ART lets a model set."""

    init_args: InitArgs
    engine_args: EngineArgs
    peft_args: PeftArgs
    trainer_args: TrainerArgs
    tinker_args: TinkerArgs
    tinker_native_args: TinkerNativeArgs
    torchtune_args: TorchtuneArgs


class TrainConfig(TypedDict, total=False):
    """What `model.train(..., _config=...)` may say."""

    advantage_balance: float
    allow_training_without_logprobs: bool
    epsilon: float
    epsilon_high: float | None
    importance_sampling_level: Literal["token", "sequence", "average", "geometric_average"]
    kimi_k2_tau: float | None
    kl_penalty_coef: float
    kl_penalty_reference_step: int | None
    kl_penalty_source: Literal["current_learner", "sample"]
    kl_penalty_step_lag: int | None
    kl_ref_adapter_path: str | None
    logprob_calculation_chunk_size: int
    mask_prob_ratio: bool
    max_grad_norm: float
    max_negative_advantage_importance_sampling_weight: float
    num_trajectories_learning_rate_multiplier_power: float
    packed_sequence_length: int | None
    plot_tensors: bool
    ppo: bool
    precalculate_logprobs: bool
    scale_learning_rate_by_reward_std_dev: bool
    scale_rewards: bool
    truncated_importance_sampling: float | None


class TrainSFTConfig(TypedDict, total=False):
    """What `model.train_sft(..., _config=...)` may say."""


class ServerArgs(TypedDict, total=False):
    """How inference listens."""

    host: str
    port: int
    api_key: str


class OpenAIServerConfig(TypedDict, total=False):
    """Where inference listens."""

    log_file: str
    server_args: ServerArgs | dict[str, Any]
    engine_args: EngineArgs | dict[str, Any]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
