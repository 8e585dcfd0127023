"""Forward passes: where the model's attention finds its keys, and where it leaves new ones.

Knows the cache and attention; neither requests nor sampling. A pass is handed to the model twice: as its cache, which
takes the new keys and values, and as the argument `art_pass`, which attends to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from art.adapter.attention import Rules, causal
from art.adapter.rope import is_long, rope_limit
from art.sample.own import attention
from art.sample.own.cache import Prompt, Row, Slab
from art.sample.own.steady import RowByRow

PREFILL_TOKENS = 1024
"""A longer prompt is prefilled in pieces of this size."""
PAD_TO = 16


class Pass(Cache):
    """A forward pass that keeps and attends by itself."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        """Never asked for a purpose: positions are always given."""
        return 0


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
                    tensors.append(new.new_empty(1, new.shape[1], len(piece.prompt), new.shape[3]))
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


@dataclass(kw_only=True)
class OwnSegment:
    """Neighbouring rows of a slab, and their own tokens."""

    slab: Slab
    slots: slice
    at: slice
    """The rows' places in the pass."""
    lengths: list[int]
    device: torch.device
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict[int | None, torch.Tensor])

    def __post_init__(self) -> None:
        self.slot_ids = torch.arange(self.slots.start, self.slots.stop, device=self.device)
        self.new_at = torch.tensor(self.lengths, device=self.device) - 1

    def store(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.slab.keys[layer][self.slot_ids, :, self.new_at] = keys[self.at, :, 0]
        self.slab.values[layer][self.slot_ids, :, self.new_at] = values[self.at, :, 0]

    def attend(self, layer: int, query: torch.Tensor, rules: Rules) -> tuple[torch.Tensor, torch.Tensor]:
        used, mask, window = slice(0, max(self.lengths)), None, rules.window
        if len(self.lengths) == 1:
            used = slice(max(0, used.stop - window) if window else 0, used.stop)
        else:
            used = slice(0, min(self.slab.capacity, -(-used.stop // PAD_TO) * PAD_TO))
            mask = self._mask(window, used.stop, query.dtype)
        keys, values = (tensors[layer][self.slots, :, used] for tensors in (self.slab.keys, self.slab.values))
        return attention.part(query[self.at], keys, values, rules, mask=mask)

    def _mask(self, window: int | None, tokens: int, dtype: torch.dtype) -> torch.Tensor:
        if window not in self.masks:
            at, last = torch.arange(tokens, device=self.device)[None], self.new_at[:, None]
            seen = at <= last if window is None else (at <= last) & (at > last - window)
            self.masks[window] = _additive(seen, dtype)
        return self.masks[window]


@dataclass(kw_only=True)
class PromptSegment:
    """Rows that share a prompt, and that prompt's tokens."""

    prompt: Prompt
    at: torch.Tensor | slice
    """The rows' places in the pass."""
    positions: list[int]
    device: torch.device
    masks: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])

    def attend(self, layer: int, query: torch.Tensor, rules: Rules) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Attend to the prompt; None when the window has moved past it."""
        window = rules.window
        first = 0 if window is None else max(0, min(self.positions) - window + 1)
        if first >= len(self.prompt):
            return None
        keys, values = (tensors[layer][:, :, first:] for tensors in (self.prompt.keys, self.prompt.values))
        mask = None
        if window is not None and len(self.positions) > 1 and max(self.positions) >= window:
            mask = self._mask(window, first, query.dtype)
        return attention.shared_part(query[self.at], keys, values, rules, mask=mask)

    def _mask(self, window: int, first: int, dtype: torch.dtype) -> torch.Tensor:
        if window not in self.masks:
            at = torch.arange(first, len(self.prompt), device=self.device)[None]
            rows = torch.tensor(self.positions, device=self.device)[:, None]
            self.masks[window] = _additive(at > rows - window, dtype)
        return self.masks[window]


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Half of the least number: adding a score must not overflow to -inf, whose softmax would be NaN.
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min / 2)[:, None, None, :]


class DecodePass(Pass):
    """One new token for each of some rows; places beyond the rows are padding."""

    def __init__(self, rows: Sequence[Row], *, one_by_one: bool, device: torch.device) -> None:
        super().__init__()
        self._own = _own_segments(rows, one_by_one=one_by_one, device=device)
        self._prompts = _prompt_segments(rows, one_by_one=one_by_one, device=device)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        for segment in self._own:
            segment.store(layer_idx, key_states, value_states)
        return key_states, value_states

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        places, heads = query.shape[0], query.shape[1]
        own_keys, own_values = self._own[0].slab.keys[layer], self._own[0].slab.values[layer]
        query = query.reshape(places, own_keys.shape[1], -1, query.shape[3])
        out = query.new_zeros(*query.shape[:3], own_values.shape[3])
        total = query.new_zeros(query.shape[:3], dtype=torch.float32)
        for segment in self._own:
            out[segment.at], total[segment.at] = segment.attend(layer, query, rules)
        if self._prompts:
            shared, shared_total = torch.zeros_like(out), torch.full_like(total, -torch.inf)
            for segment in self._prompts:
                seen = segment.attend(layer, query, rules)
                if seen is not None:
                    shared[segment.at], shared_total[segment.at] = seen
            out = attention.merge(out, total, shared, shared_total)
        return out.reshape(places, heads, 1, -1)


def _own_segments(rows: Sequence[Row], *, one_by_one: bool, device: torch.device) -> list[OwnSegment]:
    segments: list[OwnSegment] = []
    start = 0
    while start < len(rows):
        end = start + 1
        while not one_by_one and end < len(rows) and _are_neighbours(rows[end - 1], rows[end]):
            end += 1
        slab, slots = rows[start].slab, slice(rows[start].slot, rows[start].slot + end - start)
        lengths = [row.length for row in rows[start:end]]
        segments.append(OwnSegment(slab=slab, slots=slots, at=slice(start, end), lengths=lengths, device=device))
        start = end
    return segments


def _are_neighbours(row: Row, following: Row) -> bool:
    return following.slab is row.slab and following.slot == row.slot + 1


def _prompt_segments(rows: Sequence[Row], *, one_by_one: bool, device: torch.device) -> list[PromptSegment]:
    sharing = [(at, row, row.prompt) for at, row in enumerate(rows) if row.prompt]
    if one_by_one:
        return [
            PromptSegment(prompt=prompt, at=slice(at, at + 1), positions=[row.position - 1], device=device)
            for at, row, prompt in sharing
        ]
    groups: dict[int, list[tuple[int, Row]]] = {}
    for at, row, prompt in sharing:
        groups.setdefault(id(prompt), []).append((at, row))
    prompts = {id(prompt): prompt for _, _, prompt in sharing}
    return [
        PromptSegment(
            prompt=prompts[key],
            at=torch.tensor([at for at, _ in group], device=device),
            positions=[row.position - 1 for _, row in group],
            device=device,
        )
        for key, group in groups.items()
    ]


def decode(model: PreTrainedModel, rows: Sequence[Row], *, exact_places: int | None) -> torch.Tensor:
    """Advance each row by its last token and return the logits of the next [rows, vocabulary], float32.

    With `exact_places`, a row's numbers do not depend on the other rows: every pass has this many places, and every row
    attends alone. Matrix products round differently with the number of their rows, but not with what those hold.
    """
    limit = rope_limit(model.config)
    order = sorted(range(len(rows)), key=lambda place: is_long(rows[place].position + 1, limit))
    shorter = sum(not is_long(row.position + 1, limit) for row in rows)
    if 0 < shorter < len(rows):
        parts = [[rows[place] for place in part] for part in (order[:shorter], order[shorter:])]
        logits_BV = torch.cat([decode(model, part, exact_places=exact_places) for part in parts])
        return logits_BV[torch.tensor(order, device=logits_BV.device).argsort()]
    if exact_places is None:
        return _decode(model, rows, places=len(rows), one_by_one=False)
    chunks = [rows[start : start + exact_places] for start in range(0, len(rows), exact_places)]
    return torch.cat([_decode(model, chunk, places=exact_places, one_by_one=True) for chunk in chunks])


def _decode(model: PreTrainedModel, rows: Sequence[Row], *, places: int, one_by_one: bool) -> torch.Tensor:
    padding = [0] * (places - len(rows))
    ids = torch.tensor([row.last_token for row in rows] + padding, device=model.device)[:, None]
    positions = torch.tensor([row.position for row in rows] + padding, device=model.device)[:, None]
    for row in rows:
        row.length += 1
    step = DecodePass(rows, one_by_one=one_by_one, device=model.device)
    with RowByRow(places) if one_by_one else nullcontext():
        out = model(input_ids=ids, position_ids=positions, use_cache=True, art_pass=step, **_kept_in(model, step))
    return out.logits[: len(rows), -1].float()


def _kept_in(model: PreTrainedModel, step: Pass) -> dict[str, Pass]:
    """Give a pass as the argument that takes a cache."""
    return {_cache_argument(type(model)): step}


@cache
def _cache_argument(kind: type[PreTrainedModel]) -> str:
    """Name the argument: transformers 5.24 calls it `cache`, and forgets the name of before with 5.40."""
    return "cache" if "cache" in signature(kind.forward).parameters else "past_key_values"
