"""Attention over the keys and values of a running batch, plugged into transformers' models from outside.

Knows how one query meets its keys; what is kept, and for how long, is `cache`'s business.

A query's keys may lie in two places (a prompt shared by several rows, and the row's own tokens), so every part also
gives its log-sum-exp, and `merge` weighs the parts: softmax over a union is the mean of the softmaxes, weighted by
their sums.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from art.errors import ConfigurationError, InferenceError

NAME = "art_serve"
ATTENTION_KINDS = {"full_attention", "sliding_attention"}
UNSUPPORTED_ARGUMENTS = ("s_aux", "position_bias")


class ForwardPass(Protocol):
    """What a forward pass attends to; travels to every attention layer as the argument `art_pass`."""

    def attend(
        self, layer: int, query: torch.Tensor, *, window: int | None, scale: float, softcap: float | None
    ) -> torch.Tensor: ...


def use_own_attention(model: PreTrainedModel) -> None:
    """Route the model's attention through the forward pass; raises `ConfigurationError` where that would be wrong."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ATTENTION_KINDS)
    shared = getattr(config, "num_kv_shared_layers", 0)
    if not getattr(model, "_supports_attention_backend", False) or not kinds <= ATTENTION_KINDS or shared:
        raise ConfigurationError(
            f"{type(model).__name__} cannot be served: its attention is neither plain nor sliding-window attention"
            " over keys and values of its own. Use a Llama, Qwen, Gemma, Mistral or similar model."
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
    art_pass: ForwardPass,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    for name in UNSUPPORTED_ARGUMENTS:
        if others.get(name) is not None:
            raise InferenceError(f"{type(module).__name__} attends with {name}, which serving does not support.")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = art_pass.attend(int(module.layer_idx), query, window=sliding_window, scale=scale, softcap=softcap)  # pyright: ignore[reportArgumentType]
    return out.transpose(1, 2).contiguous(), None


def part(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to some of the keys: the outputs, and the log-sum-exp of the scores.

    Query [rows, key heads, queries, size]; `mask` is additive, finite, and broadcasts to the scores.
    """
    if query.device.type == "cpu" and softcap is None:
        # The kernel behind scaled_dot_product_attention; the public function does not give the log-sum-exp.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(query, keys, values, attn_mask=mask, scale=scale)
    scores = torch.matmul(query, keys.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    total = scores.logsumexp(-1, keepdim=True)
    return torch.matmul((scores - total).exp().to(values.dtype), values), total[..., 0]


def shared_part(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to keys [1, key heads, tokens, size] that all rows share, reading them once."""
    rows, heads, queries, size = query.shape
    folded = query.transpose(0, 1).reshape(1, heads, rows * queries, size)
    if mask is not None:
        mask = mask.expand(rows, 1, queries, -1).reshape(1, 1, rows * queries, -1)
    out, total = part(folded, keys, values, mask=mask, scale=scale, softcap=softcap)
    out = out.reshape(heads, rows, queries, -1).transpose(0, 1)
    return out, total.reshape(heads, rows, queries).transpose(0, 1)


def merge(
    first: torch.Tensor, first_total: torch.Tensor, second: torch.Tensor, second_total: torch.Tensor
) -> torch.Tensor:
    """Join the attention over two parts; a part whose total is -inf counts for nothing."""
    weight = torch.sigmoid(second_total - first_total)[..., None].to(first.dtype)
    return torch.lerp(first, second, weight)


def causal(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    window: int | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attend from the last tokens of one sequence to all its tokens; query [1, heads, queries, size]."""
    groups = query.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(groups, dim=1)
    values = values.repeat_interleave(groups, dim=1)
    queries, tokens = query.shape[2], keys.shape[2]
    plain = queries == tokens and (window is None or window >= tokens)
    if plain and softcap is None:
        return functional.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale)
    seen = _seen(queries, tokens, window, query.device)
    if softcap is None:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=scale)
    mask = torch.zeros(seen.shape, dtype=torch.float32, device=query.device).masked_fill_(~seen, -torch.inf)
    return part(query, keys, values, mask=mask, scale=scale, softcap=softcap)[0]


def _seen(queries: int, tokens: int, window: int | None, device: torch.device) -> torch.Tensor:
    at = torch.arange(tokens - queries, tokens, device=device)[:, None]
    keys = torch.arange(tokens, device=device)[None, :]
    seen = keys <= at
    return seen if window is None else seen & (keys > at - window)
