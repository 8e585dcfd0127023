"""A decoding step, and the rows of it that attend at once: to their own tokens, and to a prompt that they share.

Knows the cache and attention; neither the model nor what is sampled.

A step whose numbers must not depend on the other rows puts only rows together that are alike: each then has the numbers
that it has alone, because the kernel is asked for the same shapes, and always with a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache

from art.adapter.attention import Rules
from art.footprint import padded
from art.sample.own import attention
from art.sample.own.cache import CachedRow, Prompt, Slab

Attended = tuple[torch.Tensor, torch.Tensor]
"""What rows attended to, and the log-sum-exp of the scores."""
MOST_COPIED_BYTES = 128 << 10
"""Of one layer's keys of a prompt: so many are copied in about the time that a kernel takes to begin."""
Places = torch.Tensor | slice
"""Where rows are in a pass."""


@dataclass(kw_only=True)
class OwnSegment:
    """Neighbouring rows of a slab, and their own tokens."""

    slab: Slab
    slots: slice
    at: slice
    lengths: list[int]
    alike_only: bool
    device: torch.device
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict[int | None, torch.Tensor])

    def __post_init__(self) -> None:
        self.longest = max(self.lengths)
        self.is_even = min(self.lengths) == self.longest
        self.slot_ids = torch.arange(self.slots.start, self.slots.stop, device=self.device)
        self.new_at = torch.tensor(self.lengths, device=self.device) - 1

    def store(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        for kept, new in ((self.slab.keys, keys), (self.slab.values, values)):
            if self.is_even:
                kept[layer][self.slots, :, self.longest - 1] = new[self.at, :, 0]
            else:
                kept[layer][self.slot_ids, :, self.new_at] = new[self.at, :, 0]

    def attend(self, layer: int, query: torch.Tensor, rules: Rules) -> Attended:
        window = rules.window
        if self.is_even and not self.alike_only:
            keys, values = self._kept(layer, slice(max(0, self.longest - window) if window else 0, self.longest))
            return attention.part(query[self.at], keys, values, rules, mask=None)
        used = slice(_first_of_alike(self.longest, window) if self.alike_only else 0, padded(self.longest))
        keys, values = self._kept(layer, used)
        attend = attention.part_alike if self.alike_only else attention.part
        return attend(query[self.at], keys, values, rules, mask=self._mask(window, used, query.dtype))

    def _kept(self, layer: int, used: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return self.slab.keys[layer][self.slots, :, used], self.slab.values[layer][self.slots, :, used]

    def _mask(self, window: int | None, used: slice, dtype: torch.dtype) -> torch.Tensor:
        if window not in self.masks:
            at, last = torch.arange(used.start, used.stop, device=self.device)[None], self.new_at[:, None]
            seen = at <= last if window is None else (at <= last) & (at > last - window)
            self.masks[window] = _additive(seen, dtype)
        return self.masks[window]


@dataclass(kw_only=True)
class PromptSegment:
    """Rows that share a prompt, and that prompt's tokens; or rows with a prompt each, which are alike."""

    prompts: Sequence[Prompt]
    """One for all rows, or one for each."""
    at: Places
    positions: list[int]
    alike_only: bool
    device: torch.device
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict[int | None, torch.Tensor])
    copies: list[torch.Tensor] = field(default_factory=list[torch.Tensor])

    def __post_init__(self) -> None:
        self.earliest, self.latest = min(self.positions), max(self.positions)
        self.longest = max(map(len, self.prompts))

    def attend(self, layer: int, query: torch.Tensor, rules: Rules) -> Attended | None:
        """Attend to the prompt; None when the window has moved past it."""
        window = rules.window
        if self.alike_only:
            first = _first_of_alike(self.latest + 1, window)
        else:
            first = 0 if window is None else max(0, self.earliest - window + 1)
        if first >= self.longest:
            return None
        if self.alike_only:
            used = slice(first, padded(self.longest))
            each = (len(self.positions), -1, -1, -1)
            keys, values = (kept.expand(each) for kept in self._kept(layer, used))
            return attention.part_alike(query[self.at], keys, values, rules, mask=self._mask(window, used, query.dtype))
        used, mask = slice(first, self.longest), None
        if window is not None and self.earliest != self.latest and self.latest >= window:
            mask = self._mask(window, used, query.dtype)
        return attention.shared_part(query[self.at], *self._kept(layer, used), rules, mask=mask)

    def _kept(self, layer: int, used: slice) -> tuple[torch.Tensor, torch.Tensor]:
        keys = [prompt.keys[layer][:, :, used] for prompt in self.prompts]
        values = [prompt.values[layer][:, :, used] for prompt in self.prompts]
        if len(self.prompts) == 1:
            return keys[0], values[0]
        if not self.copies or self.copies[0].shape[2] != keys[0].shape[2]:
            # For all layers of a step: new memory would take longer than what is copied.
            self.copies = [torch.cat(keys), torch.cat(values)]
            return self.copies[0], self.copies[1]
        for copy, kept in zip(self.copies, (keys, values), strict=True):
            torch.cat(kept, out=copy)
        return self.copies[0], self.copies[1]

    def _mask(self, window: int | None, used: slice, dtype: torch.dtype) -> torch.Tensor:
        if window not in self.masks:
            at = torch.arange(used.start, used.stop, device=self.device)[None]
            rows = torch.tensor(self.positions, device=self.device)[:, None]
            ends = torch.tensor([len(prompt) for prompt in self.prompts], device=self.device)[:, None]
            seen = (at < ends).expand(len(rows), -1)
            self.masks[window] = _additive(seen if window is None else seen & (at > rows - window), dtype)
        return self.masks[window]


def _first_of_alike(tokens: int, window: int | None) -> int:
    """Give the first token that rows of so many read, where those that end in the same 16 tokens read the same."""
    return 0 if window is None else max(0, padded(tokens) - padded(1) - padded(window))


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Half of the least number: adding a score must not overflow to -inf, whose softmax would be NaN.
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min / 2)[:, None, None, :]


def own_segments(rows: Sequence[CachedRow], *, alike_only: bool, device: torch.device) -> list[OwnSegment]:
    """Put neighbours of a slab together."""
    segments: list[OwnSegment] = []
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and _are_neighbours(rows[end - 1], rows[end], alike_only=alike_only):
            end += 1
        slab, slots = rows[start].slab, slice(rows[start].slot, rows[start].slot + end - start)
        lengths = [row.length for row in rows[start:end]]
        segments.append(
            OwnSegment(
                slab=slab,
                slots=slots,
                at=slice(start, end),
                lengths=lengths,
                alike_only=alike_only,
                device=device,
            )
        )
        start = end
    return segments


def _are_neighbours(row: CachedRow, following: CachedRow, *, alike_only: bool) -> bool:
    if following.slab is not row.slab or following.slot != row.slot + 1:
        return False
    return not alike_only or (padded(following.length) == padded(row.length) and _are_batched_alike(row))


def _are_batched_alike(row: CachedRow) -> bool:
    # Of shorter numbers the kernel packs the keys, or does not, by how many rows there are. A GPU's kernels may split
    # the keys by it, of any numbers.
    keys = row.slab.keys[0]
    is_possible = keys.dtype == torch.float32 and keys.device.type == "cpu" and keys.shape[-1] == padded(keys.shape[-1])
    return is_possible and attention.rounds_alike()


def prompt_segments(rows: Sequence[CachedRow], *, alike_only: bool, device: torch.device) -> list[PromptSegment]:
    """Put rows together that share a prompt, or whose prompts are short and alike."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if row.prompt:
            apart = (() if _are_batched_alike(row) else (place,)) + (padded(row.position),) if alike_only else ()
            groups.setdefault((id(row.prompt), *apart), []).append(place)
    together: dict[tuple[int, ...], list[int]] = {}
    for key, places in groups.items():
        row = rows[places[0]]
        is_joined = alike_only and len(places) == 1 and _are_batched_alike(row) and _is_short(row)
        alike = (0, padded(row.position), padded(len(row.prompt or ())))
        together.setdefault(alike if is_joined else key, []).extend(places)
    segments: list[PromptSegment] = []
    for places in together.values():
        prompts = [prompt for place in places if (prompt := rows[place].prompt)]
        segments.append(
            PromptSegment(
                prompts=prompts[:1] if all(prompt is prompts[0] for prompt in prompts) else prompts,
                at=_places(places, device),
                positions=[rows[place].position - 1 for place in places],
                alike_only=alike_only,
                device=device,
            )
        )
    return segments


def _is_short(row: CachedRow) -> bool:
    """Tell whether to copy a prompt's keys and values in every step takes less than a call of the kernel."""
    assert row.prompt is not None
    return row.prompt.keys[0].nbytes <= MOST_COPIED_BYTES


def _places(places: Sequence[int], device: torch.device) -> Places:
    """Give places as a slice where they follow each other, which copies nothing."""
    start, stop = places[0], places[-1] + 1
    return slice(start, stop) if stop - start == len(places) else torch.tensor(places, device=device)


def laid_out(parts: Sequence[tuple[Places, Attended | None]], places: int, *, unseen: float) -> Attended | None:
    """Lay out what segments attended to by their places; who attended to nothing has zeros and the total `unseen`."""
    seen = [(at, attended) for at, attended in parts if attended is not None]
    if not seen:
        return None
    if _follow_each_other([at for at, _ in seen], places):
        outs, totals = zip(*(attended for _, attended in seen), strict=True)
        return (outs[0], totals[0]) if len(seen) == 1 else (torch.cat(outs), torch.cat(totals))
    like, like_total = seen[0][1]
    out = like.new_zeros(places, *like.shape[1:])
    total = like_total.new_full((places, *like_total.shape[1:]), unseen)
    for at, attended in seen:
        out[at], total[at] = attended
    return out, total


def _follow_each_other(all_places: Sequence[Places], places: int) -> bool:
    end = 0
    for at in all_places:
        if not isinstance(at, slice) or at.start != end:
            return False
        end = at.stop
    return end == places


class Pass(Cache):
    """A forward pass that keeps and attends by itself."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        """Never asked for a purpose: positions are always given."""
        return 0


class DecodePass(Pass):
    """One new token for each of some rows; places beyond the rows are padding."""

    def __init__(self, rows: Sequence[CachedRow], *, alike_only: bool, device: torch.device) -> None:
        super().__init__()
        self._own = own_segments(rows, alike_only=alike_only, device=device)
        self._prompts = prompt_segments(rows, alike_only=alike_only, device=device)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        for segment in self._own:
            segment.store(layer_idx, key_states, value_states)
        return key_states, value_states

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        places, heads, _, size = query.shape
        query = query.reshape(places, self._own[0].slab.keys[layer].shape[1], -1, size)
        own, shared = (
            laid_out([(each.at, each.attend(layer, query, rules)) for each in segments], places, unseen=unseen)
            for segments, unseen in ((self._own, 0.0), (self._prompts, -torch.inf))
        )
        assert own is not None
        out = attention.merge(*own, *shared) if shared else own[0]
        return out.reshape(places, heads, 1, -1)
