"""Attention over the keys and values of a running batch.

Knows how one query meets its keys; what is kept, and for how long, is `cache`'s business.

A query's keys may lie in two places (a prompt shared by several rows, and the row's own tokens), so every part also
gives its log-sum-exp, and `merge` weighs the parts: softmax over a union is the mean of the softmaxes, weighted by
their sums.
"""

from __future__ import annotations

import torch

from art.adapter.attention import Rules, scores


def part(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules, *, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to some of the keys: the outputs, and the log-sum-exp of the scores.

    Query [rows, key heads, queries, size]; `mask` is additive, finite, and broadcasts to the scores.
    """
    if query.device.type == "cpu" and rules.softcap is None:
        # The kernel behind scaled_dot_product_attention; the public function does not give the log-sum-exp.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(query, keys, values, attn_mask=mask, scale=rules.scale)
    weights = scores(query, keys, rules)
    if mask is not None:
        weights = weights + mask
    total = weights.logsumexp(-1, keepdim=True)
    return torch.matmul((weights - total).exp().to(values.dtype), values), total[..., 0]


def shared_part(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules, *, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to keys [1, key heads, tokens, size] that all rows share, reading them once."""
    rows, heads, queries, size = query.shape
    folded = query.transpose(0, 1).reshape(1, heads, rows * queries, size)
    if mask is not None:
        mask = mask.expand(rows, 1, queries, -1).reshape(1, 1, rows * queries, -1)
    out, total = part(folded, keys, values, rules, mask=mask)
    out = out.reshape(heads, rows, queries, -1).transpose(0, 1)
    return out, total.reshape(heads, rows, queries).transpose(0, 1)


def merge(
    first: torch.Tensor, first_total: torch.Tensor, second: torch.Tensor, second_total: torch.Tensor
) -> torch.Tensor:
    """Join the attention over two parts; a part whose total is -inf counts for nothing."""
    weight = torch.sigmoid(second_total - first_total)[..., None].to(first.dtype)
    return torch.lerp(first, second, weight)
