"""Keys and values of a running batch: prompts that rows share, and each row's own tokens in preallocated slabs.

Knows tensors and rows; neither requests nor sampling. Lives in the engine's worker thread alone.

A row's own tokens lie in the slab of the smallest capacity (a power of two) that holds them, so that no row pays for
the longest one. A row moves up when it is full; the last row of a slab fills the gap that a leaving row makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

SMALLEST_SLAB = 64
FIRST_ROWS = 8


FINAL_GROWTH = 0.25
"""By which part a slab grows whose rows were admitted within a bound of bytes; others double."""


def capacity_of(tokens: int) -> int:
    """Give how many tokens the slab has that holds a row of so many."""
    return max(SMALLEST_SLAB, 1 << (tokens - 1).bit_length())


class Prompt:
    """The keys and values of a prefilled prompt, and what the model says after it."""

    def __init__(self, token_ids: tuple[int, ...]) -> None:
        self.token_ids = token_ids
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.logits_V: torch.Tensor | None = None
        self.users = 0
        self.is_exact = False
        """Whether it was computed alone, as a seeded request needs it."""

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


@dataclass(eq=False, kw_only=True)
class Row:
    """A sequence that is being continued."""

    last_token: int
    prompt: Prompt | None = None
    """The prompt whose keys it shares with other rows; None when it has a copy among its own."""
    slab: Slab = field(init=False)
    slot: int = field(init=False)
    length: int = field(init=False)
    """How many tokens lie in the slab."""

    @property
    def position(self) -> int:
        """Where `last_token` stands in the sequence, before it is stored."""
        return self.length + (len(self.prompt) if self.prompt else 0)


class Slab:
    """Rows of one capacity, without gaps."""

    def __init__(self, capacity: int, *, grows_by: float) -> None:
        self.capacity = capacity
        self._grows_by = grows_by
        self.rows: list[Row] = []
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def add(self, row: Row, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], *, length: int) -> None:
        """Give the row a slot and copy `length` tokens of [key heads, tokens, size] a layer into it."""
        slot = len(self.rows)
        self._make_room(self.keys, keys)
        self._make_room(self.values, values)
        for ours, theirs in zip([*self.keys, *self.values], [*keys, *values], strict=True):
            ours[slot, :, :length] = theirs[:, :length]
        self.rows.append(row)
        row.slab, row.slot, row.length = self, slot, length

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def _make_room(self, tensors: list[torch.Tensor], like: Sequence[torch.Tensor]) -> None:
        """See to it that there is a slot for one more row, a layer at a time: no second copy of all of them."""
        slot = len(self.rows)
        if tensors and slot < tensors[0].shape[0]:
            return
        slots = slot + max(1, int(slot * self._grows_by)) if self._grows_by < 1 else max(FIRST_ROWS, 2 * slot)
        for layer, each in enumerate(like):
            shape = (slots, each.shape[0], self.capacity, each.shape[2])
            # Zeros, not empty: what masked slots hold is multiplied by zero, and NaN times zero is NaN.
            grown = torch.zeros(shape, dtype=each.dtype, device=each.device)
            if layer < len(tensors):
                grown[:slot] = tensors[layer][:slot]
                tensors[layer] = grown
            else:
                tensors.append(grown)

    def wipe(self, slot: int) -> None:
        """Put zeros where a row left what is not finite; a later row would multiply it by its mask's zero."""
        for tensor in (*self.keys, *self.values):
            tensor[slot] = 0

    def free(self, slot: int) -> None:
        """Let the last row fill the slot, unless it is the last one's."""
        last = self.rows.pop()
        if slot == len(self.rows):
            return
        for tensor in (*self.keys, *self.values):
            tensor[slot, :, : last.length] = tensor[last.slot, :, : last.length]
        self.rows[slot] = last
        last.slot = slot


class Rows:
    """The live rows of one version."""

    def __init__(self) -> None:
        self._slabs: dict[int, Slab] = {}

    def __len__(self) -> int:
        return sum(len(slab.rows) for slab in self._slabs.values())

    @property
    def size_bytes(self) -> int:
        return sum(slab.size_bytes for slab in self._slabs.values())

    def all(self) -> list[Row]:
        """List the rows, those of a slab next to each other in the order of their slots."""
        return [row for _, slab in sorted(self._slabs.items()) for row in slab.rows]

    def add(self, row: Row, prompt: Prompt, *, shared: bool, most_tokens: int | None = None) -> None:
        """Let the row begin after the prompt, on the prompt's own keys or on a copy.

        With `most_tokens`, which it will get at most, it never moves to another slab.
        """
        length = 0 if shared else len(prompt)
        keys = [tensor[0] for tensor in prompt.keys]
        values = [tensor[0] for tensor in prompt.values]
        self._slab(length + (most_tokens or 1), is_final=most_tokens is not None).add(row, keys, values, length=length)
        if shared:
            row.prompt = prompt
            prompt.users += 1

    def remove(self, row: Row) -> None:
        self._free(row.slab, row.slot)
        if row.prompt:
            row.prompt.users -= 1

    def make_room(self, rows: Sequence[Row]) -> None:
        """See to it that these rows have room for one more token."""
        for row in rows:
            if row.length < row.slab.capacity:
                continue
            full, slot, length = row.slab, row.slot, row.length
            keys = [tensor[slot] for tensor in full.keys]
            values = [tensor[slot] for tensor in full.values]
            self._slab(length + 1).add(row, keys, values, length=length)
            self._free(full, slot)

    def _slab(self, length: int, *, is_final: bool = False) -> Slab:
        capacity = capacity_of(length)
        return self._slabs.setdefault(capacity, Slab(capacity, grows_by=FINAL_GROWTH if is_final else 1.0))

    def _free(self, slab: Slab, slot: int) -> None:
        slab.free(slot)
        if not slab.rows:
            del self._slabs[slab.capacity]
