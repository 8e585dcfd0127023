"""What a setting may be called: by us, by ART, and what a misspelt name was meant to be.

Knows names and how ART's turn into ours; what the values do is `config`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, SupportsIndex

from pydantic import ValidationError

from art.errors import ConfigurationError
from art.visible import shown_value

Fields = dict[str, Any]
MOST_REASONS = 8


@dataclass(frozen=True)
class Names:
    """Further names that a kind of settings has, beside those of its fields."""

    translated: Mapping[str, Callable[[Any], Fields]]
    """Names for what has another one here, and the fields that a value of each asks for."""
    without_effect: Mapping[str, tuple[object, str]]
    """Names that change nothing here: the value that asks for nothing, and what they would need."""


@dataclass(frozen=True)
class Understood:
    """What a user's settings mean here."""

    fields: Fields
    """By our names."""
    ignored: tuple[str, ...]
    """The settings of ART that change nothing here, each with what it would need."""


def understood(given: Mapping[str, Any], *, fields: Collection[str], names: Names, where: str) -> Understood:
    """Sort settings into our fields and what is ignored; raises `ConfigurationError` for a name nobody knows."""
    known = {*fields, *names.translated, *names.without_effect}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{where} has no setting {name!r}.{nearest(name, known)}")
    ours = {name: value for name, value in given.items() if name in fields}
    for name, value in given.items():
        if name in names.translated:
            _add(ours, _translated(names, name, value, where), where=f"{where}: {name}")
    return Understood(ours, tuple(_ignored(given, names)))


def nearest(name: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """Give " Did you mean x?" for the known name most like this one, "" where none is: `alike` is 1 for the same."""
    import difflib

    matches = difflib.get_close_matches(name, sorted(known), n=1, cutoff=alike)
    return f" Did you mean {matches[0]}?" if matches else ""


def refused(where: str, error: ValidationError) -> ConfigurationError:
    """Give our error for values that pydantic refused."""
    reasons: dict[str, list[str]] = {}
    for each in error.errors(include_url=False, include_context=False):
        name = str(each["loc"][0]) if each["loc"] else "it"
        reasons.setdefault(f"{name} is {shown_value(each['input'])}", []).append(
            each["msg"].removeprefix("Value error, ")
        )
    problems = "; ".join(
        f"{what}: {', or: '.join(dict.fromkeys(why))}" for what, why in islice(reasons.items(), MOST_REASONS)
    )
    return ConfigurationError(f"{where}: {problems}.")


def require_whole(name: str, value: object, *, least: int, most: int) -> None:
    """Check a setting that is a whole number; raises `ConfigurationError`."""
    # A user may pass anything, and True is an int.
    number = None if isinstance(value, bool) or not isinstance(value, SupportsIndex) else value.__index__()
    if number is None or not least <= number <= most:
        raise ConfigurationError(f"{name}={shown_value(value)}: give a whole number from {least} to {most}.")


def _translated(names: Names, name: str, value: Any, where: str) -> Fields:
    try:
        return names.translated[name](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{where}: {name} is {shown_value(value)}, which has not its form.") from error


def _add(ours: Fields, more: Fields, *, where: str) -> None:
    for name, value in more.items():
        if ours.setdefault(name, value) != value:
            raise ConfigurationError(f"{where} asks for {name}={value!r}, beside {name}={ours[name]!r}. Name only one.")


def _ignored(given: Mapping[str, Any], names: Names) -> Iterable[str]:
    for name, (nothing_asked, need) in names.without_effect.items():
        if name in given and given[name] is not None and given[name] != nothing_asked:
            yield f"{name} ({need})"


def _adam_params(value: Any) -> Fields:
    """Read the values that Tinker's `AdamParams` has, from an object or a mapping."""
    if value is None:
        return {}
    values: Mapping[str, Any] = value if isinstance(value, Mapping) else vars(value)
    ours = {"eps": "adam_epsilon", "grad_clip_norm": "max_grad_norm"}
    names = ("learning_rate", "weight_decay", "eps", "grad_clip_norm")
    fields = {ours.get(name, name): values[name] for name in names if values.get(name)}
    return {**fields, "betas": (values.get("beta1", 0.9), values.get("beta2", 0.99))}


def _loss_fn_config(value: Mapping[str, Any] | None) -> Fields:
    """Read the clipping thresholds, which are ratios, as distances from 1."""
    values = dict(value or {})
    fields: Fields = {}
    if (low := values.pop("clip_low_threshold", None)) is not None:
        fields["epsilon"] = 1 - low
    if (high := values.pop("clip_high_threshold", None)) is not None:
        fields["epsilon_high"] = high - 1
    if values:
        raise ConfigurationError(
            f"loss_fn_config has {', '.join(sorted(map(str, values)))}; here it is clip_low_threshold and "
            "clip_high_threshold."
        )
    return fields


OURS = Names({}, {})
_PLAIN = "adapters have plain LoRA layers of one rank"
_UNSLOTH = "a setting of Unsloth's"
ART_LORA = Names(
    translated={"target_modules": lambda names: {} if names is None else {"targets": names}},
    without_effect={
        "bias": ("none", _PLAIN),
        "init_weights": (True, _PLAIN),
        "layers_pattern": (None, _PLAIN),
        "layers_to_transform": (None, _PLAIN),
        "loftq_config": (None, _PLAIN),
        "max_seq_length": (None, "init_args says how long a conversation may be"),
        "modules_to_save": (None, _PLAIN),
        "random_state": (None, "LocalBackend(seed=...) begins an adapter"),
        "temporary_location": (None, _UNSLOTH),
        "use_gradient_checkpointing": (None, "layers keep what free memory holds"),
        "use_rslora": (False, _PLAIN),
    },
)
ART_SFT = Names({}, {"metric_logging": (None, "the metrics of a step are logged once, with its checkpoint")})
ART = Names(
    translated={
        "adam_params": _adam_params,
        "kl_penalty_reference_step": lambda step: {} if step is None else {"kl_reference": step},
        "kl_penalty_step_lag": lambda lag: {"kl_reference": -lag} if lag else {},
        "kl_ref_adapter_path": lambda path: {} if path is None else {"kl_reference": path},
        "loss_fn": lambda loss: {"loss": loss},
        "loss_fn_config": _loss_fn_config,
        "max_negative_advantage_importance_sampling_weight": lambda most: {} if most is None else {"dual_clip": most},
        "normalize_advantages": lambda scale: {} if scale else {"scale_rewards": False},
        "ppo": lambda ppo: {"loss": "ppo"} if ppo else {},
    },
    without_effect={
        "final_training_step": (None, "nothing is prepared for a last step: every step is a checkpoint"),
        "logprob_calculation_chunk_size": (1024, "the size follows from the vocabulary, and no number depends on it"),
        "moe_routing_replay_bundle": (None, "needs a sampler that records which experts it asked"),
        "moe_routing_replay_path": (None, "needs a sampler that records which experts it asked"),
        "moe_routing_replay_strict": (False, "needs a sampler that records which experts it asked"),
        "optimizer_save_interval": (5, "every checkpoint has its optimizer"),
        "plot_tensors": (False, "needs a plot of packed sequences, which are not kept"),
        "save_checkpoint": (True, "every step is a checkpoint; delete_checkpoints removes what is not wanted"),
        "scale_learning_rate_by_reward_std_dev": (False, "ART 0.5.23 does not read it either; set learning_rate"),
    },
)
"""What `backend.train` and `TrainConfig` of ART 0.5.23 know beyond the fields that are here."""
