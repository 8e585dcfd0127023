"""Forward passes: where the model's attention finds its keys, and where it leaves new ones.

Knows the cache and attention; neither requests nor sampling. A pass is handed to the model twice: as its cache, which
takes the new keys and values, and as the argument `art_pass`, which attends to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel

from art.adapter.attention import Rules, causal
from art.adapter.rope import is_long, rope_limit
from art.footprint import padded
from art.sample.own.cache import CachedRow, Prompt
from art.sample.own.plain import LEAST_ALIKE, PlainDecoder
from art.sample.own.segments import DecodePass, Pass
from art.sample.own.steady import RowByRow

PREFILL_TOKENS = 1024
"""A longer prompt is prefilled in pieces of this size."""


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

    A prompt's last piece leaves its logits. Several prompts in one pass are faster than one by one, but round
    otherwise: what a seeded request needs is computed alone.
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
    lasts = torch.tensor([piece.at.stop - 1 for piece in pieces], device=model.device)
    out = model(
        input_ids=torch.tensor([token_ids], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        **_kept_in(model, step),
        use_cache=True,
        logits_to_keep=lasts,
        art_pass=step,
    )
    for piece, logits_V in zip(pieces, out.logits[0].float(), strict=True):
        if piece.end == len(piece.prompt):
            piece.prompt.logits_V = logits_V
    return max(piece.end for piece in pieces)


def decode(
    model: PreTrainedModel, rows: Sequence[CachedRow], *, exact_places: int | None, plain: PlainDecoder | None = None
) -> torch.Tensor:
    """Advance each row by its last token and return the logits of the next [rows, vocabulary], float32.

    With `exact_places`, a row's numbers do not depend on the other rows: every pass has this many places, and every row
    attends alone. Matrix products round differently with the number of their rows, but not with what those hold. A
    plain decoder whose products round alike for any number of rows needs no such number. It computes the step, where
    there is one, in place of the model.
    """
    limit = rope_limit(model.config)
    order = sorted(range(len(rows)), key=lambda place: is_long(rows[place].position + 1, limit))
    shorter = sum(not is_long(row.position + 1, limit) for row in rows)
    if 0 < shorter < len(rows):
        parts = [[rows[place] for place in part] for part in (order[:shorter], order[shorter:])]
        logits_BV = torch.cat([decode(model, part, exact_places=exact_places, plain=plain) for part in parts])
        return logits_BV[torch.tensor(order, device=logits_BV.device).argsort()]
    step = partial(_decode, model, plain=plain)
    if exact_places is None:
        return step(rows, places=len(rows), is_exact=False)
    if plain and plain.rounds_alike:
        return step(rows, places=max(len(rows), LEAST_ALIKE), is_exact=True)
    chunks = [rows[start : start + exact_places] for start in range(0, len(rows), exact_places)]
    return torch.cat([step(chunk, places=exact_places, is_exact=True) for chunk in chunks])


def _decode(
    model: PreTrainedModel, rows: Sequence[CachedRow], *, places: int, is_exact: bool, plain: PlainDecoder | None
) -> torch.Tensor:
    padding = [0] * (places - len(rows))
    ids_B = torch.tensor([row.last_token for row in rows] + padding, device=model.device)
    positions_B = torch.tensor([row.position for row in rows] + padding, device=model.device)
    for row in rows:
        row.length += 1
    step = DecodePass(rows, alike_only=is_exact, device=model.device)
    with RowByRow(places) if is_exact else nullcontext():
        if plain:
            return plain(ids_B, positions_B, step, is_exact=is_exact)[: len(rows)].float()
        return decode_by_model(model, ids_B, positions_B, step)[: len(rows)].float()


def decode_by_model(
    model: PreTrainedModel, ids_B: torch.Tensor, positions_B: torch.Tensor, step: DecodePass
) -> torch.Tensor:
    """Give the logits of what follows [rows, vocabulary] by the model's own forward pass."""
    ids_B1, positions_B1 = ids_B[:, None], positions_B[:, None]
    kept = _kept_in(model, step)
    return model(input_ids=ids_B1, position_ids=positions_B1, use_cache=True, art_pass=step, **kept).logits[:, -1]


def _kept_in(model: PreTrainedModel, step: Pass) -> dict[str, Pass]:
    """Give a pass as the argument that takes a cache."""
    return {_cache_argument(type(model)): step}


@cache
def _cache_argument(kind: type[PreTrainedModel]) -> str:
    """Name the argument: transformers 5.24 calls it `cache`, and forgets the name of before with 5.40."""
    return "cache" if "cache" in signature(kind.forward).parameters else "past_key_values"
