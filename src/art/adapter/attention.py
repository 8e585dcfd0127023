"""Attention plugged into transformers' models from outside, for serving and for training alike.

Knows the models' side of it: how a forward pass of ours takes over their attention, and what causal attention over one
sequence is. What else a pass attends to is its own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from art.adapter.reasons import known_reason
from art.adapter.rope import is_dynamic
from art.errors import ConfigurationError, InferenceError

NAME = "art"
ATTENTION_KINDS = {"full_attention", "sliding_attention"}
UNSUPPORTED_ARGUMENTS = ("s_aux", "position_bias")


@dataclass(frozen=True)
class Rules:
    """How a layer attends."""

    scale: float
    window: int | None = None
    """How many tokens a token sees, itself included; None sees all."""
    softcap: float | None = None
    """Scores are bent to stay between -softcap and softcap, as in Gemma 2."""


class ForwardPass(Protocol):
    """What a forward pass attends to; travels to every attention layer as the argument `art_pass`."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        """Attend from queries [rows, heads, tokens, size]; `key` and `value` are those of the same tokens."""
        ...


def use_own_attention(model: PreTrainedModel) -> None:
    """Route the model's attention through the forward pass; raises `ConfigurationError` where that would be wrong."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ATTENTION_KINDS)
    is_other = not kinds <= ATTENTION_KINDS or getattr(config, "num_kv_shared_layers", 0) or is_dynamic(model.config)
    if is_other or not getattr(model, "_supports_attention_backend", False):
        reason = known_reason(model) or (
            "its attention is neither plain nor sliding-window attention over keys and values of its own"
        )
        raise ConfigurationError(
            f"{type(model).__name__} cannot be sampled from or trained here: {reason}. Use a Llama, Qwen, Gemma, "
            "Mistral or similar model."
        )
    AttentionInterface.register(NAME, _attention)
    model.config._attn_implementation = NAME  # pyright: ignore[reportPrivateUsage]
    config._attn_implementation = NAME  # pyright: ignore[reportPrivateUsage]


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    art_pass: ForwardPass | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    for name in UNSUPPORTED_ARGUMENTS:
        if others.get(name) is not None:
            raise InferenceError(f"{type(module).__name__} attends with {name}, which is not supported.")
    if art_pass is None:
        raise InferenceError(f"{type(module).__name__} is not told what it attends to: its layer hands no argument on")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(module.layer_idx)  # pyright: ignore[reportArgumentType]
    out = art_pass.attend(layer, query, key, value, Rules(scale, sliding_window, softcap))
    return out.transpose(1, 2).contiguous(), None


def causal(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules) -> torch.Tensor:
    """Attend from the last tokens of one sequence to all its tokens; query [1, heads, queries, size]."""
    queries, tokens = query.shape[2], keys.shape[2]
    plain = queries == tokens and (rules.window is None or rules.window >= tokens)
    grouped = query.shape[1] != keys.shape[1]
    if plain and rules.softcap is None:
        return functional.scaled_dot_product_attention(
            query, keys, values, is_causal=True, scale=rules.scale, enable_gqa=grouped
        )
    seen = _seen(queries, tokens, rules.window, query.device)
    if rules.softcap is None:
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=seen, scale=rules.scale, enable_gqa=grouped
        )
    folded = query.reshape(1, keys.shape[1], -1, query.shape[3])
    scores_of_queries = scores(folded, keys, rules).unflatten(2, (-1, queries))
    weights = scores_of_queries.masked_fill(~seen, -torch.inf).softmax(-1).flatten(2, 3)
    return torch.matmul(weights.to(values.dtype), values).reshape(*query.shape[:3], -1)


def scores(query: torch.Tensor, keys: torch.Tensor, rules: Rules) -> torch.Tensor:
    """Score queries against keys, in float32."""
    plain = torch.matmul(query, keys.transpose(-1, -2)).float() * rules.scale
    return plain if rules.softcap is None else torch.tanh(plain / rules.softcap) * rules.softcap


def _seen(queries: int, tokens: int, window: int | None, device: torch.device) -> torch.Tensor:
    at = torch.arange(tokens - queries, tokens, device=device)[:, None]
    keys = torch.arange(tokens, device=device)[None, :]
    seen = keys <= at
    return seen if window is None else seen & (keys > at - window)
