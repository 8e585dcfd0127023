"""Attention over a packed micro-batch: every row sees its own tokens, and a prompt's rows share its keys and values.

Knows where families lie and how a layer attends; knows no model. Axes: K key head, G query heads of a key head,
B branch, W place in a branch (padded to the longest), P prompt token, D size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from art.adapter.attention import Rules, causal, scores
from art.train.batch import Family
from art.train.flash import Flash

# Scores that a family's branches may leave for the backward pass together: 16 MiB a layer in float32. Beyond it every
# branch attends alone, through kernels that keep none.
MAX_SCORES = 2**22


class PackedPass:
    """A forward pass over the families of one micro-batch."""

    def __init__(self, families: Sequence[Family], *, device: torch.device) -> None:
        self._families = families
        self._flash = Flash(families, device=device)
        self._branches = [_Branches(family, device) if family.branches else None for family in families]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        """Attend from [1, heads, T, D] to what each token sees."""
        if self._flash.suits(query, value, rules):
            return self._flash.attend(query, key, value, rules.scale)
        outs: list[Tensor] = []
        for family, branches in zip(self._families, self._branches, strict=True):
            prompt = slice(family.start, family.start + family.prompt)
            outs.append(causal(query[:, :, prompt], key[:, :, prompt], value[:, :, prompt], rules))
            if branches is None:
                continue
            if branches.scores_a_head * query.shape[1] <= MAX_SCORES:
                outs.append(branches.attend(query, key, value, rules))
            else:
                outs.extend(_one_by_one(family, query, key, value, rules))
        return torch.cat(outs, dim=2)


class _Branches:
    """The branches of one prompt, attending at once: one product with the prompt's keys, one with each one's own."""

    def __init__(self, family: Family, device: torch.device) -> None:
        self._count, self._width = len(family.branches), max(family.branches)
        self._prompt = slice(family.start, family.start + family.prompt)
        self.scores_a_head = self._count * self._width * (family.prompt + self._width)
        places: list[int] = []
        start = family.start + family.prompt
        for length in family.branches:
            # A branch's last token stands for its padding, which no real token sees and nobody reads.
            places += [start + min(place, length - 1) for place in range(self._width)]
            start += length
        real = [row * self._width + place for row, length in enumerate(family.branches) for place in range(length)]
        self._places = torch.tensor(places, device=device)
        self._real = torch.tensor(real, device=device)
        self._at_P = torch.arange(-family.prompt, 0, device=device)
        self._at_W = torch.arange(self._width, device=device)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        heads, groups = key.shape[1], query.shape[1] // key.shape[1]
        query_KBGWD = self._own(query).unflatten(0, (heads, groups)).transpose(1, 2)
        prompt_KPD, own_KBWD = key[0, :, self._prompt], self._own(key)
        on_prompt = scores(query_KBGWD.flatten(1, 3), prompt_KPD, rules).view(*query_KBGWD.shape[:4], -1)
        on_own = scores(query_KBGWD.flatten(2, 3), own_KBWD, rules).view(*query_KBGWD.shape[:4], -1)
        weight = self._weight(on_prompt, on_own, rules.window).to(value.dtype)
        weight_P, weight_W = weight.split([on_prompt.shape[-1], self._width], dim=-1)
        out_KFD = torch.matmul(weight_P.flatten(1, 3), value[0, :, self._prompt])
        own_out_KBFD = torch.matmul(weight_W.flatten(2, 3), self._own(value))
        out_KBGWD = (out_KFD + own_out_KBFD.flatten(1, 2)).view(*query_KBGWD.shape[:4], -1)
        out_HFD = out_KBGWD.transpose(1, 2).reshape(query.shape[1], len(self._places), -1)
        return out_HFD.index_select(1, self._real)[None]

    def _own(self, tensor: Tensor) -> Tensor:
        """Give [heads, B, W, D] of the branches, from [1, heads, T, D]."""
        return tensor[0].index_select(1, self._places).unflatten(1, (self._count, self._width))

    def _weight(self, on_prompt: Tensor, on_own: Tensor, window: int | None) -> Tensor:
        unseen_WW = self._at_W > self._at_W[:, None]
        if window is not None:
            unseen_WW = unseen_WW | (self._at_W <= self._at_W[:, None] - window)
            on_prompt = on_prompt.masked_fill(self._at_P <= self._at_W[:, None] - window, -torch.inf)
        return torch.cat([on_prompt, on_own.masked_fill(unseen_WW, -torch.inf)], dim=-1).softmax(-1)


def _one_by_one(family: Family, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> list[Tensor]:
    prompt, start = slice(family.start, family.start + family.prompt), family.start + family.prompt
    outs: list[Tensor] = []
    for length in family.branches:
        own = slice(start, start + length)
        keys, values = (torch.cat([each[:, :, prompt], each[:, :, own]], dim=2) for each in (key, value))
        outs.append(causal(query[:, :, own], keys, values, rules))
        start += length
    return outs
