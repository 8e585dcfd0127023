"""Which of many steps are worth a line. Pure: numbers in, numbers and gaps out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

FEW = 12
SHORTEST_GAP = 3


@dataclass(frozen=True)
class Gap:
    """Steps that are not shown one by one."""

    steps: tuple[int, ...]


def condense(steps: Sequence[int], matter: Collection[int]) -> Iterator[int | Gap]:
    """Yield all of a few steps; of many the first, the last and those that matter, with gaps between them."""
    if len(steps) <= FEW:
        yield from steps
        return
    shown = {*matter, steps[0], steps[-1]}
    hidden: list[int] = []
    for step in steps:
        if step not in shown:
            hidden.append(step)
            continue
        yield from _hide(hidden)
        hidden = []
        yield step


def _hide(steps: Sequence[int]) -> Iterator[int | Gap]:
    # A line that says "2 steps" is no shorter than the two.
    if len(steps) < SHORTEST_GAP:
        yield from steps
    else:
        yield Gap(tuple(steps))
