"""What ART's internal settings mean here, and which of them mean nothing."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from art.errors import ConfigurationError
from art.settings import nearest

PEFT_ARGS = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "target_modules": "targets"}
TRAINER_ARGS = ("max_grad_norm", "weight_decay", "adam_beta1", "adam_beta2")
WHOLE = ("chat_template", "chat_template_kwargs", "chat_template_path")
"""Settings with an effect that have no names of ours inside."""
MEANINGFUL: Mapping[str, Collection[str]] = {
    "init_args": ("max_seq_length", "load_in_4bit"),
    "engine_args": ("max_model_len",),
    "peft_args": PEFT_ARGS,
    "trainer_args": TRAINER_ARGS,
}
LISTENING: Mapping[str, Collection[str]] = {"server_args": ("port",)}
_AT_TINKER = "trains at Tinker"
_PLACES = "LocalBackend(device=..., ranks=...) says where it trains"
WITHOUT_EFFECT = {
    "allow_unvalidated_arch": "every architecture is tried when it is loaded",
    "chat_template_content_format": "content is given to templates as text",
    "chat_template_tool_schema_format": "tools are given to templates as they were sent",
    "engine_args": "settings of vLLM's: start a server with them, and give LocalBackend(sampler=its address)",
    "inference_gpu_ids": _PLACES,
    "init_args": "settings of Unsloth's loader",
    "lora_config": "TrainableModel(lora_config=...) takes it",
    "log_file": "the program's standard error has the log",
    "megatron_model_initialization": "trains with Megatron",
    "peft_args": "adapters have plain LoRA layers of one rank",
    "rollout_weight_update_mode": "each step is served under a name of its own",
    "rollout_weights_mode": "adapters are applied beside the base, never merged",
    "server_args": "LocalBackend(host=..., api_key=...) says how inference listens",
    "tinker_args": _AT_TINKER,
    "tinker_native_args": _AT_TINKER,
    "torchtune_args": "trains with torchtune",
    "trainer_args": "settings of TRL's trainer: art.TrainConfig has ours",
    "trainer_gpu_ids": _PLACES,
    "vllm_runtime": "LocalBackend(sampler=...) names a vLLM server",
}
"""Every section that ART knows, and what those of its settings would need that change nothing here."""
EXPERT_REPLAY = "enable_expert_replay (needs a sampler that records which experts it asked)"
ANOTHER_THING = ("load_in_8bit", "load_in_16bit")
"""Settings of ART that are spelled almost like one that has an effect."""
ALIKE = 0.85
"""How much a misspelt name has in common with the right one; no name of Unsloth's, vLLM's, PEFT's or TRL's has that."""
_log = logging.getLogger("art")


def without_meaning(
    given: Mapping[str, Any], meaningful: Mapping[str, Collection[str]] = MEANINGFUL, *, where: str
) -> list[str]:
    """Give the settings that change nothing here, sorted, as `section.setting`, each section with what it would need.

    Raises `ConfigurationError` for a name that is misspelt.
    """
    named: list[str] = []
    for section in sorted(set(given) - {*WHOLE}):
        if section not in WITHOUT_EFFECT:
            raise ConfigurationError(f"{where} has no {section!r}.{nearest(section, [*WITHOUT_EFFECT, *WHOLE])}")
        known = meaningful.get(section)
        ignored = _ignored(given[section], known, f"{where}[{section!r}]") if known else []
        if ignored or not known:
            names = ", ".join(f"{section}.{name}" for name in ignored) or section
            named.append(f"{names} ({WITHOUT_EFFECT[section]})")
    return named


def _ignored(given: Mapping[str, Any] | None, known: Collection[str], where: str) -> list[str]:
    names = sorted(set(given or {}) - {*known})
    for name in names:
        meant = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
        if meant and name not in ANOTHER_THING:
            raise ConfigurationError(f"{where} has no setting {name!r}. Did you mean {meant[0]}?")
    return names


def ignore(where: str, names: Iterable[str]) -> None:
    """Name, in one warning, the settings that change nothing here; none is no warning."""
    if named := ", ".join(names):
        _log.warning("%s: no meaning here, ignored: %s", where, named)


def late(where: str) -> None:
    """Say that a setting came after the model was registered, which is when it is read."""
    _log.warning("%s was set after the model was registered, and is not read any more.", where)


def adapter_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of `LoRAConfig` that `peft_args` says."""
    return {PEFT_ARGS[name]: value for name, value in _section(given, "peft_args").items() if name in PEFT_ARGS}


def training_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of `TrainConfig` that `trainer_args` says."""
    fields = {name: value for name, value in _section(given, "trainer_args").items() if name in TRAINER_ARGS}
    decay_rates = fields.pop("adam_beta1", 0.9), fields.pop("adam_beta2", 0.99)
    return fields if decay_rates == (0.9, 0.99) else {**fields, "betas": decay_rates}


def context_length(given: Mapping[str, Any]) -> int | None:
    """Give how many tokens a conversation may have, None where nothing is said."""
    lengths = (_section(given, "init_args").get("max_seq_length"), _section(given, "engine_args").get("max_model_len"))
    return min((length for length in lengths if length), default=None)


def in_4bit(given: Mapping[str, Any]) -> bool:
    """Say whether the base is to be held in 4 bits."""
    return bool(_section(given, "init_args").get("load_in_4bit"))


def _section(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return given.get(name) or {}
