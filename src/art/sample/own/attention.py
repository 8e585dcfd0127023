"""Attention over the keys and values of a running batch.

Knows how one query meets its keys; what is kept, and for how long, is `cache`'s business.

A query's keys may lie in two places (a prompt shared by several rows, and the row's own tokens), so every part also
gives its log-sum-exp, and `merge` weighs the parts: softmax over a union is the mean of the softmaxes, weighted by
their sums.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional

from art.adapter.attention import Rules, scores
from art.footprint import PAD_TO

QUERIES_TO = 8
TRIED = ((1, 16, 16), (2, 48, 64), (3, 112, 64), (3, 528, 80), (8, 32, 128))
"""Key heads, tokens and sizes of a head."""


def part(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules, *, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend to some of the keys: the outputs, and the log-sum-exp of the scores.

    Query [rows, key heads, queries, size]; `mask` is additive, finite, and broadcasts to the scores.
    """
    if query.device.type == "cpu" and rules.softcap is None:
        return _kernel(query, keys, values, mask=mask, scale=rules.scale)
    weights = scores(query, keys, rules)
    if mask is not None:
        weights = weights + mask
    total = weights.logsumexp(-1, keepdim=True)
    return torch.matmul((weights - total).exp().to(values.dtype), values), total[..., 0]


def part_alike(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules, *, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend as `part` does, with places for a multiple of 8 queries.

    With a multiple of 16 tokens, and of 16 numbers a head, whatever the kernel has for a thread then begins at a whole
    line of memory.
    """
    queries = query.shape[2]
    out, total = part(functional.pad(query, (0, 0, 0, -queries % QUERIES_TO)), keys, values, rules, mask=mask)
    return out[:, :, :queries], total[:, :, :queries]


def _kernel(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, mask: torch.Tensor | None, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    # What lies behind scaled_dot_product_attention, which does not give the log-sum-exp.
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return kernel(query, keys, values, attn_mask=mask, scale=scale)


def rounds_alike() -> bool:
    """Tell whether `part_alike` gives rows, with the threads that there are, the bits that each has alone.

    The threads' scores lie one behind the other. Some processors multiply otherwise where a matrix does not begin at a
    whole line of memory, so in `part` a row has the bits of the thread that it falls to, which other rows decide. It is
    tried.
    """
    return _rounds_alike(torch.get_num_threads())


@cache
def _rounds_alike(_threads: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    return all(_is_alike(*shape, generator=generator) for shape in TRIED)


def _is_alike(heads: int, tokens: int, size: int, *, generator: torch.Generator) -> bool:
    rows, queries, rules = 8, 3, Rules(scale=size**-0.5)
    shapes = [(rows, heads, each, size) for each in (queries, tokens, tokens)]
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    mask = torch.zeros(rows, 1, 1, tokens)
    mask[::2, ..., -PAD_TO // 2 :] = torch.finfo(mask.dtype).min / 2

    def attended(at: slice) -> tuple[torch.Tensor, torch.Tensor]:
        query, keys, values = (each[at] for each in drawn)
        return part_alike(query, keys, values, rules, mask=mask[at])

    alone = [attended(slice(row, row + 1)) for row in range(rows)]
    for count in (2, 3, 5, rows):
        beside = attended(slice(count))
        expected = [torch.cat(parts) for parts in zip(*alone[:count], strict=True)]
        if not all(map(torch.equal, beside, expected)):
            return False
    return True


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
