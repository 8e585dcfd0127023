"""What a base model is, and what numbers were computed with: for checkpoints to be compared by.

Knows configurations and versions; reads no weight.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from blake3 import blake3
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.adapter.four_bits import PACKAGE, quantisation_of
from art.adapter.product import float32_products
from art.visible import visible

logger = logging.getLogger(__name__)

# What decides a model's shape and arithmetic in every release of transformers; the rest is how it is run.
ESSENTIAL = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "hidden_activation", "activation_function", "rms_norm_eps",
    "layer_norm_eps", "layer_norm_epsilon", "tie_word_embeddings", "sliding_window", "final_logit_softcapping",
    "attn_logit_softcapping", "num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
    "n_embd", "n_layer", "n_head", "n_inner",
)  # fmt: skip
QUANTISATION = "quantisation"
LIBRARIES = ("torch", "transformers", "peft", "safetensors")


def base_fingerprint(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Give the BLAKE3 of configuration, vocabulary and chat template: the same wherever the model lies."""
    config = base.config.get_text_config(decoder=True)
    values = {
        "config": {name: getattr(config, name) for name in ESSENTIAL if getattr(config, name, None) is not None},
        "rope_theta": _rope_theta(config),
        "vocabulary": tokenizer.get_vocab(),
        "chat_template": tokenizer.chat_template,
    }
    canonical = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake3(canonical.encode()).hexdigest()


def environment(base: PreTrainedModel) -> dict[str, object]:
    """Give what bit-equal continuation depends on; a base in plain numbers has no quantisation to name."""
    kind = quantisation_of(base)
    quantised = {QUANTISATION: kind, PACKAGE: version(PACKAGE)} if kind else {}
    return {
        "device": base.device.type,
        "device_name": torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "cpu",
        "dtype": str(base.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "products": float32_products(base.device),
        **{library: version(library) for library in LIBRARIES},
        **quantised,
    }


def warn_of_change(then: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Log, in one line, what differs from when a checkpoint was written."""
    changes = [
        f"{name} {then.get(name)} -> {now.get(name)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if changes:
        logger.warning(
            "Continuing works, but not bit for bit as it would have: %s since the checkpoint was written.",
            visible(", ".join(changes)),
        )


def _rope_theta(config: Any) -> object:
    """Read the base of the rotary embedding, which newer releases keep among `rope_parameters`."""
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, dict):
        return getattr(config, "rope_theta", None)
    return parameters.get("rope_theta") or {
        kind: values.get("rope_theta") for kind, values in parameters.items() if isinstance(values, dict)
    }
