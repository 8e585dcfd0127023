"""A base whose linear layers are held in 4 bits, by bitsandbytes: one copy, for training and for sampling.

Knows what bitsandbytes needs to be told; the adapter beside such a layer is computed as beside any other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from art.errors import ConfigurationError

KIND = "nf4"
"""The numbers that 4 bits stand for: those of QLoRA."""
PACKAGE = "bitsandbytes"
PACKING = "support_avx512bf16_for_cpu"
"""What bitsandbytes calls its kernels for sampling alone."""


def loading(base_model: str, config: Any, *, device: torch.device, dtype: Any, in_4bit: bool) -> dict[str, Any]:
    """Give what `from_pretrained` is told, nothing for a base as it is.

    Raises `ConfigurationError` for weights that were saved in another way, and where bitsandbytes is missing.
    """
    saved = getattr(config, "quantization_config", None)
    if saved is not None and not _is_ours(saved):
        raise ConfigurationError(
            f"The weights of {base_model!r} are saved in {_name(saved)}, which is not implemented here: adapters would "
            "be trained on other numbers than they are served on. Take the model that they were made from, or its 4 "
            "bits of bitsandbytes."
        )
    if saved is None and not in_4bit:
        return {}
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigurationError(
            f"Holding {base_model!r} in 4 bits needs bitsandbytes: pip install 'artfork[4bit]', or leave load_in_4bit "
            "out."
        )
    told: dict[str, Any] = {"device_map": {"": device}}
    if saved is None:
        told["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=KIND,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return told


def settle(module: nn.Module) -> None:
    """Let every layer compute the same with a gradient and without."""
    for layer in module.modules():
        if PACKING in vars(layer):
            # It would turn the weights over for kernels that have no gradient, at the first token that is sampled.
            vars(layer)[PACKING] = False


def quantisation_of(module: nn.Module) -> str | None:
    """Give in what a base's layers are held, None for plain numbers."""
    kinds = {getattr(parameter, "quant_type", None) for parameter in module.parameters()} - {None}
    return "+".join(sorted(map(str, kinds))) or None


def _is_ours(saved: Any) -> bool:
    fields: Mapping[str, Any] = saved if isinstance(saved, Mapping) else saved.to_dict()
    return str(fields.get("quant_method", PACKAGE)) == PACKAGE and bool(fields.get("load_in_4bit"))


def _name(saved: Any) -> str:
    fields: Mapping[str, Any] = saved if isinstance(saved, Mapping) else saved.to_dict()
    eight = " 8 bits" if fields.get("load_in_8bit") else ""
    return f"{fields.get('quant_method', 'a form of their own')}{eight}"
