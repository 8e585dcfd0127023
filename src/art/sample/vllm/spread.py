"""Which of several servers answers a prompt: one that has computed its beginning, unless that one is busy. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from blake3 import blake3

BLOCK = 32
"""Tokens; what begins alike is recognised in steps of so many."""
REMEMBERED = 1 << 16
SLACK = 8
"""How many requests more than the idlest a server may have, and still get what begins as it knows."""


class Spread:
    """Remembers which beginnings went to which server."""

    def __init__(self, count: int) -> None:
        self._known: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in range(count)]

    def choose(self, prompt_ids: Sequence[int], loads: Sequence[int]) -> int:
        """Give the server's place, and remember it. `loads` are the requests that each has now."""
        blocks = list(_blocks(prompt_ids))
        least = min(loads)
        fit = [place for place, load in enumerate(loads) if load <= least + SLACK]
        chosen = max(fit, key=lambda place: (self._matching(place, blocks), -loads[place]))
        known = self._known[chosen]
        for block in blocks:
            known[block] = None
            known.move_to_end(block)
        while len(known) > REMEMBERED:
            known.popitem(last=False)
        return chosen

    def _matching(self, place: int, blocks: Sequence[bytes]) -> int:
        known = self._known[place]
        return next((count for count, block in enumerate(blocks) if block not in known), len(blocks))


def _blocks(prompt_ids: Sequence[int]) -> Iterator[bytes]:
    """Give a digest of each beginning of the prompt that is a whole number of blocks, or of the whole prompt."""
    digest = blake3()
    for start in range(0, len(prompt_ids), BLOCK):
        digest.update(",".join(map(str, prompt_ids[start : start + BLOCK])).encode() + b";")
        yield digest.digest(length=8)
