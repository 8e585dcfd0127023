"""Prompts: computed alone, or several in one pass, which is faster.

Knows the cache and attention; neither requests nor sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import Rules, causal
from art.adapter.rope import is_long, rope_limit
from art.footprint import padded
from art.sample.own.cache import Prompt
from art.sample.own.forward import kept_in
from art.sample.own.plain import LEAST_ALIKE
from art.sample.own.segments import Pass
from art.sample.own.steady import PartsApart

PREFILL_TOKENS = 1024
"""A longer prompt is prefilled in pieces of this size."""
LEAST_TOKENS = 2
"""The product of a single token rounds otherwise."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Tokens `start` to `end` of a prompt, and their place in the pass."""

    prompt: Prompt
    start: int
    end: int
    at: slice


class PrefillPass(Pass):
    """Pieces of prompts, one behind the other, each attending to its own prompt only."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._pieces = pieces

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        for piece in self._pieces:
            for tensors, new in ((piece.prompt.keys, key_states), (piece.prompt.values, value_states)):
                if layer_idx == len(tensors):
                    # Zeros behind the prompt's end: they are read beneath a mask, and NaN times zero is NaN.
                    tensors.append(new.new_zeros(1, new.shape[1], padded(len(piece.prompt)), new.shape[3]))
                tensors[layer_idx][:, :, piece.start : piece.end] = new[:, :, piece.at]
        return key_states, value_states

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        outs: list[torch.Tensor] = []
        for piece in self._pieces:
            keys, values = (each[layer][:, :, : piece.end] for each in (piece.prompt.keys, piece.prompt.values))
            own = query[:, :, piece.at]
            outs.append(causal(own, keys, values, rules))
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)


def prefill(model: PreTrainedModel, prompts: Sequence[Prompt], *, start: int = 0) -> int:
    """Compute the prompts from `start`, at most `PREFILL_TOKENS` of each; gives where the longest piece ends.

    A prompt's last piece leaves its logits. Several prompts in one pass round otherwise than each by itself.
    """
    pieces: list[Piece] = []
    limit = rope_limit(model.config)
    used = 0
    for prompt in prompts:
        # Of one beyond the limit every position means what it means in the whole: no piece may be read alone.
        end = len(prompt) if is_long(len(prompt), limit) else min(start + PREFILL_TOKENS, len(prompt))
        pieces.append(Piece(prompt=prompt, start=start, end=end, at=slice(used, used + end - start)))
        used += end - start
    step = PrefillPass(pieces)
    token_ids = [token_id for piece in pieces for token_id in piece.prompt.token_ids[piece.start : piece.end]]
    positions = [position for piece in pieces for position in range(piece.start, piece.end)]
    # The output layer's product is for so many rows that a prompt by itself has the bits that it has among others.
    lasts = [piece.at.stop - 1 for piece in pieces] * (LEAST_ALIKE if len(pieces) == 1 else 1)
    out = model(
        input_ids=torch.tensor([token_ids], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        **kept_in(model, step),
        use_cache=True,
        logits_to_keep=torch.tensor(lasts, device=model.device),
        art_pass=step,
    )
    for piece, logits_V in zip(pieces, out.logits[0, : len(pieces)].float(), strict=True):
        if piece.end == len(piece.prompt):
            piece.prompt.logits_V = logits_V
    return max(piece.end for piece in pieces)


def prefill_alike(adapted: AdaptedModel, prompts: Sequence[Prompt]) -> None:
    """Compute prompts in one pass, each with the bits that it has alone; the adapter that is set is applied.

    For models whose plain decoder says `prompts_alike`, and prompts of `LEAST_TOKENS` and more. The products round
    alike for any number of rows. What does not is computed for one prompt after the other: the adapter's narrow
    products, functions of single numbers, and attention.
    """
    sizes = [len(prompt) for prompt in prompts]
    with adapted.apart([slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]), PartsApart(sizes, dim=1):
        prefill(adapted.model, prompts)
    for prompt in prompts:
        prompt.is_exact = True


def packs_of(prompts: Iterable[tuple[int, ...]], rope_limit: int | None) -> list[list[tuple[int, ...]]]:
    """Put prompts together that may be computed in one pass, in their order."""
    packs: list[list[tuple[int, ...]]] = []
    room = 0
    for prompt in prompts:
        is_alone = is_long(len(prompt), rope_limit) or (packs and is_long(len(packs[-1][0]), rope_limit))
        if not packs or is_alone or len(prompt) > room:
            packs.append([])
            room = PREFILL_TOKENS
        packs[-1].append(prompt)
        room -= len(prompt)
    return packs
