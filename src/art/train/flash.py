"""Attention of a whole pass in exact parts, without a mask, keeping no score: on a branch's prompt, and on itself.

The parts are joined by their log-sum-exps. The kernel's own backward pass takes the joined output and log-sum-exp, and
so gives each part's share of the gradient: no key and no value is ever laid beside another's or copied to query heads.
Knows where families lie; knows no model. Axes: B branch, W place in a branch, padded to the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from art.adapter.attention import Rules
from art.train.batch import Family

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, kw_only=True)
class Branches:
    """Where the branches of one prompt lie."""

    all: slice
    """Next to each other."""
    count: int
    width: int
    places_BW: Tensor
    """A branch's last token stands for its padding, which no real token sees."""
    real: Tensor
    """Which of those places are no padding, in order."""

    def padded(self, tensor: Tensor) -> Tensor:
        """Give [B, heads, W, size] of the branches, from [1, heads, T, size]; the heads of a token stay neighbours."""
        tokens = tensor.transpose(1, 2)[0].index_select(0, self.places_BW)
        return tokens.unflatten(0, (self.count, self.width)).transpose(1, 2)

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Give [1, heads, all, size] from [B, heads, W, size]."""
        return tensor.transpose(1, 2).flatten(0, 1).index_select(0, self.real)[None].transpose(1, 2)


def branches_of(family: Family, device: torch.device) -> Branches:
    """Find the branches of a family that has some."""
    width, start = max(family.branches), family.start + family.prompt
    places: list[int] = []
    real: list[int] = []
    at = start
    for row, length in enumerate(family.branches):
        places += [at + min(place, length - 1) for place in range(width)]
        real += range(row * width, row * width + length)
        at += length
    return Branches(
        all=slice(start, at),
        count=len(family.branches),
        width=width,
        places_BW=torch.tensor(places, device=device),
        real=torch.tensor(real, device=device),
    )


class Flash:
    """The layout of one pass."""

    def __init__(self, families: Sequence[Family], *, device: torch.device) -> None:
        self.families = families
        self.branches = [branches_of(family, device) if family.branches else None for family in families]
        self._device = device
        self._longest = max((family.prompt + max(family.branches, default=0) for family in families), default=0)

    def suits(self, query: Tensor, value: Tensor, rules: Rules) -> bool:
        """Say whether a layer that attends by these rules can be computed so."""
        is_plain = rules.softcap is None and (rules.window is None or rules.window >= self._longest)
        return is_plain and self._device.type == "cpu" and query.shape[-1] == value.shape[-1]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend from [1, heads, T, D] to what each token sees."""
        return cast(Tensor, _Attention.apply(query, key, value, self, scale))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Flash, scale: float) -> Tensor:
        _, heads, tokens, _ = query.shape
        # Heads of a token are neighbours, as the kernel has it and as the output layer wants it.
        out = query.new_empty(1, tokens, heads, value.shape[-1]).transpose(1, 2)
        total = query.new_empty(1, tokens, heads, dtype=torch.float32).transpose(1, 2)
        for family, branches in zip(layout.families, layout.branches, strict=True):
            prompt = slice(family.start, family.start + family.prompt)
            out[:, :, prompt], total[:, :, prompt] = _forward(
                *_at(prompt, query, key, value), is_causal=True, scale=scale
            )
            if branches is None:
                continue
            own = _forward(*map(branches.padded, (query, key, value)), is_causal=True, scale=scale)
            own_out, own_total = branches.laid_out(own[0]), branches.laid_out(own[1][..., None])[..., 0]
            first, first_total = _forward(
                query[:, :, branches.all], *_at(prompt, key, value), is_causal=False, scale=scale
            )
            weight = torch.sigmoid(own_total - first_total)[..., None].to(first.dtype)
            out[:, :, branches.all] = torch.lerp(first, own_out, weight)
            total[:, :, branches.all] = torch.logaddexp(first_total, own_total)
        ctx.save_for_backward(query, key, value, out, total)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, out, total = ctx.saved_tensors
        given = (gradients[0], query, key, value, out, total)
        gradients_in = tuple(torch.empty_like(each) for each in (query, key, value))
        for family, branches in zip(ctx.layout.families, ctx.layout.branches, strict=True):
            prompt = slice(family.start, family.start + family.prompt)
            _put(gradients_in, prompt, _backward(*_at(prompt, *given), 0.0, True, scale=ctx.scale))
            if branches is not None:
                _branches_backward(given, gradients_in, prompt=prompt, branches=branches, scale=ctx.scale)
        return *gradients_in, None, None


Saved = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, ...]


def _branches_backward(given: Saved, targets: Gradients, *, prompt: slice, branches: Branches, scale: float) -> None:
    """Put the gradient of a family's branches in its places; the prompt's own is there already."""
    gradient, query, key, value, out, total = given
    real = torch.zeros(branches.count * branches.width, dtype=torch.bool, device=query.device)
    real[branches.real] = True
    padded = branches.padded(gradient) * real.view(branches.count, 1, branches.width, 1)
    others = map(branches.padded, (query, key, value, out))
    own = _backward(padded, *others, branches.padded(total[..., None])[..., 0], 0.0, True, scale=scale)
    _put(targets, branches.all, tuple(map(branches.laid_out, own)))
    asking = _at(branches.all, gradient, query, out, total)
    first = _backward(*asking[:2], *_at(prompt, key, value), *asking[2:], 0.0, False, scale=scale)
    for tensor, place, share in zip(targets, (branches.all, prompt, prompt), first, strict=True):
        tensor[:, :, place] += share


def _at(place: slice, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[:, :, place] for tensor in tensors)


def _put(targets: Gradients, place: slice, gradients: Sequence[Tensor]) -> None:
    for tensor, gradient in zip(targets, gradients, strict=True):
        tensor[:, :, place] = gradient
