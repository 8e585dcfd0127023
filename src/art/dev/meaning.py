"""What ART's internal settings mean here, and which of them mean nothing."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

PEFT_ARGS = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "target_modules": "targets"}
TRAINER_ARGS = ("max_grad_norm", "weight_decay", "adam_beta1", "adam_beta2")
MEANINGFUL: Mapping[str, Collection[str]] = {
    "init_args": ("max_seq_length", "load_in_4bit"),
    "engine_args": ("max_model_len",),
    "peft_args": PEFT_ARGS,
    "trainer_args": TRAINER_ARGS,
}
_log = logging.getLogger("art")


def without_meaning(given: Mapping[str, Any], meaningful: Mapping[str, Collection[str]] = MEANINGFUL) -> list[str]:
    """Give the settings that change nothing here, sorted, as `section.setting`."""
    names = [section for section in given if section not in meaningful]
    for section, known in meaningful.items():
        names += [f"{section}.{name}" for name in given.get(section) or {} if name not in known]
    return sorted(names)


def ignore(where: str, names: Iterable[str]) -> None:
    """Name, in one warning, the settings that change nothing here; none is no warning."""
    if named := ", ".join(names):
        _log.warning("%s: no meaning here, ignored: %s", where, named)


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
