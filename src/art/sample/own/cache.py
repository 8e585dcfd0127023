"""Keys and values of a running batch: prompts that rows share, and each row's own tokens in slabs.

Knows tensors and rows; neither requests nor sampling. Lives in the engine's worker thread alone.

A slab has rows of one capacity (a power of two) and never grows: where all slabs of a capacity are full, a further one
is made beside them, and nothing is copied. A row lies in the smallest capacity that holds what it has, or what it will
have at most where that is known; without that it moves up when it is full. The last row of a capacity fills the gap of
one that leaves, so that all slabs but the last one stay full, and an empty one is let go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from art.footprint import capacity_of

FIRST_TOKENS = 512
"""Of the first slab of a capacity, in rows together: a few short rows, or a single long one."""


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
class CachedRow:
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
    """Rows of one capacity, without gaps, in tensors that were made for so many."""

    def __init__(self, capacity: int, slots: int, like: Sequence[torch.Tensor]) -> None:
        """`like` has the keys and the values of each layer, [key heads, tokens, size]."""
        self.capacity, self.slots = capacity, slots
        self.rows: list[CachedRow] = []
        # Zeros, not empty: what masked slots hold is multiplied by zero, and NaN times zero is NaN.
        tensors = [each.new_zeros(slots, each.shape[0], capacity, each.shape[2]) for each in like]
        half = len(tensors) // 2
        self.keys, self.values = tensors[:half], tensors[half:]

    @property
    def is_full(self) -> bool:
        return len(self.rows) == self.slots

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (*self.keys, *self.values)

    def tokens_of(self, slot: int, length: int) -> list[torch.Tensor]:
        """Give what a slot holds, [key heads, tokens, size] for each tensor."""
        return [tensor[slot, :, :length] for tensor in self.tensors]

    def add(self, row: CachedRow, tokens: Sequence[torch.Tensor]) -> None:
        """Give the row the next slot and copy the tokens into it."""
        slot, length = len(self.rows), tokens[0].shape[1]
        self._put(slot, tokens)
        self.rows.append(row)
        row.slab, row.slot, row.length = self, slot, length

    def replace(self, slot: int, row: CachedRow) -> None:
        """Let a row of this capacity take the place of another one."""
        self._put(slot, row.slab.tokens_of(row.slot, row.length))
        self.rows[slot] = row
        row.slab, row.slot = self, slot

    def wipe(self, slot: int) -> None:
        """Put zeros where a row left what is not finite; a later row would multiply it by its mask's zero."""
        for tensor in self.tensors:
            tensor[slot] = 0

    def _put(self, slot: int, tokens: Sequence[torch.Tensor]) -> None:
        for ours, theirs in zip(self.tensors, tokens, strict=True):
            ours[slot, :, : theirs.shape[1]] = theirs


class Rows:
    """The live rows of one version."""

    def __init__(self) -> None:
        self._slabs: dict[int, list[Slab]] = {}

    def __len__(self) -> int:
        return sum(len(slab.rows) for slab in self._all_slabs())

    @property
    def size_bytes(self) -> int:
        return sum(slab.size_bytes for slab in self._all_slabs())

    def all(self) -> list[CachedRow]:
        """List the rows, those of a slab next to each other in the order of their slots."""
        return [row for slab in self._all_slabs() for row in slab.rows]

    def add(
        self, row: CachedRow, prompt: Prompt, *, shared: bool, most_tokens: int | None = None, coming: int = 1
    ) -> None:
        """Let the row begin after the prompt, on the prompt's own keys or on a copy.

        With `most_tokens`, which it will get at most, it never moves to another slab. `coming` are the rows of its
        kind that begin now, itself included.
        """
        length = 0 if shared else len(prompt)
        tokens = [tensor[0, :, :length] for tensor in (*prompt.keys, *prompt.values)]
        is_final = most_tokens is not None
        self._room(length + (most_tokens or 1), tokens, coming=coming, is_final=is_final).add(row, tokens)
        if shared:
            row.prompt = prompt
            prompt.users += 1

    def remove(self, row: CachedRow) -> None:
        self._leave(row.slab, row.slot)
        if row.prompt:
            row.prompt.users -= 1

    def make_room(self, rows: Sequence[CachedRow]) -> None:
        """See to it that these rows have room for one more token."""
        full = [row for row in rows if row.length == row.slab.capacity]
        for at, row in enumerate(full):
            slab, slot = row.slab, row.slot
            tokens = slab.tokens_of(slot, row.length)
            self._room(row.length + 1, tokens, coming=len(full) - at).add(row, tokens)
            self._leave(slab, slot)

    def _all_slabs(self) -> Iterator[Slab]:
        for _, slabs in sorted(self._slabs.items()):
            yield from slabs

    def _room(self, length: int, like: Sequence[torch.Tensor], *, coming: int, is_final: bool = False) -> Slab:
        """Give a slab with a free slot for so many tokens; no slot more than are coming where rows are final."""
        capacity = capacity_of(length)
        slabs = self._slabs.setdefault(capacity, [])
        if not slabs or slabs[-1].is_full:
            spare = 0 if is_final else max(FIRST_TOKENS // capacity, sum(slab.slots for slab in slabs))
            slabs.append(Slab(capacity, max(1, coming, spare), like))
        return slabs[-1]

    def _leave(self, slab: Slab, slot: int) -> None:
        """Let the last row of this capacity fill the slot, unless it is the last one's."""
        slabs = self._slabs[slab.capacity]
        last = slabs[-1].rows.pop()
        if slab is not slabs[-1] or slot < len(slab.rows):
            slab.replace(slot, last)
        if not slabs[-1].rows:
            slabs.pop()
        if not slabs:
            del self._slabs[slab.capacity]
