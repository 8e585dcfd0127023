"""Branches as a drawing in the manner of `git log --graph`: newest on top, a column per depth of forking.

Pure: branches in, gutters and what stands beside them out. Knows no colours but an index per branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from art.names import ModelRef
from art.ops.condense import Gap
from art.ops.tree import BranchStep, Origin, TreeBranch, Whereabouts, rests_on
from art.store.aside import SetAside

CROWDED = 8
"""From this many columns on they stand close together."""


@dataclass(frozen=True)
class Stroke:
    """A bit of gutter and the index of the branch whose colour it has, None for no colour."""

    text: str
    colour: int | None = None


@dataclass(frozen=True)
class Problem:
    """Why a branch could not be listed, or not whole."""

    text: str


Beside = BranchStep | Gap | Origin | SetAside | Problem | None


@dataclass(frozen=True)
class GraphLine:
    """One line: its gutter, whose line it is and what it tells; a line that only joins tells nothing."""

    gutter: tuple[Stroke, ...]
    branch: TreeBranch
    beside: Beside = None


@dataclass(frozen=True)
class _Column:
    colour: int
    runs: bool
    """Whether the column's line goes on here."""


def draw(branches: Sequence[TreeBranch]) -> Iterator[GraphLine]:
    """Yield the lines of all branches, each root above the branches that grew from it later."""
    known = {branch.model: branch for branch in branches}
    roots = [branch for branch in branches if _grows_from(branch, known) is None]
    artist = _Artist(branches, unit=1 if _depth(branches, known) >= CROWDED else 2)
    for root in roots:
        if root is not roots[0]:
            yield GraphLine((), root)
        yield from artist.branch(root, ())


class _Artist:
    def __init__(self, branches: Sequence[TreeBranch], *, unit: int) -> None:
        self.unit = unit
        self.colours = {branch.model: index for index, branch in enumerate(branches)}
        self.known = {branch.model: branch for branch in branches}
        self.grown: dict[tuple[ModelRef, int], list[TreeBranch]] = {}
        for branch in branches:
            if place := _grows_from(branch, self.known):
                self.grown.setdefault(place, []).append(branch)

    def branch(self, branch: TreeBranch, left: tuple[_Column, ...]) -> Iterator[GraphLine]:
        colour = self.colours[branch.model]
        yield from self._loose(branch, left)
        if branch.problem:
            yield GraphLine((*self._lines(left), Stroke("✗", colour)), branch, Problem(branch.problem))
        started = False
        for item in reversed(branch.items):
            for side in self._sides(branch, item, left, colour):
                yield from side(started)
                started = True
            beside = item if isinstance(item, Gap) else branch.opened[item]
            yield GraphLine((*self._lines(left), Stroke(_node(beside, branch), colour)), branch, beside)
            started = True
        origin = branch.origin
        if origin and (origin.where is not Whereabouts.HERE or origin.hop.ref.model not in self.known):
            yield GraphLine((*self._lines(left), Stroke("◌", colour)), branch, origin)

    def _sides(self, branch: TreeBranch, item: int | Gap, left: tuple[_Column, ...], colour: int):
        if isinstance(item, Gap):
            return
        for aside in reversed(branch.set_aside):
            if rests_on(branch.steps, aside) == item:
                yield lambda started, aside=aside: self._aside(branch, aside, (*left, _Column(colour, started)))
        for other in self.grown.get((branch.model, item), []):
            yield lambda started, other=other: self._fork(other, (*left, _Column(colour, started)))

    def _fork(self, other: TreeBranch, left: tuple[_Column, ...]) -> Iterator[GraphLine]:
        yield from self.branch(other, left)
        yield GraphLine(self._join(left, self.colours[other.model]), other)

    def _aside(self, branch: TreeBranch, aside: SetAside, left: tuple[_Column, ...]) -> Iterator[GraphLine]:
        yield GraphLine((*self._lines(left), Stroke("◌")), branch, aside)
        yield GraphLine(self._join(left, None), branch)

    def _loose(self, branch: TreeBranch, left: tuple[_Column, ...]) -> Iterator[GraphLine]:
        for aside in reversed(branch.set_aside):
            if rests_on(branch.steps, aside) is None:
                yield GraphLine((*self._lines(left), Stroke("◌")), branch, aside)

    def _lines(self, left: Sequence[_Column]) -> tuple[Stroke, ...]:
        gap = " " * (self.unit - 1)
        return tuple(Stroke(("│" if column.runs else " ") + gap, column.colour) for column in left)

    def _join(self, left: tuple[_Column, ...], colour: int | None) -> tuple[Stroke, ...]:
        *further, own = left
        corner = Stroke("├" if own.runs else "╭", own.colour)
        return (*self._lines(further), corner, Stroke("─" * (self.unit - 1) + "╯", colour))


def _node(beside: BranchStep | Gap, branch: TreeBranch) -> str:
    if isinstance(beside, Gap):
        return "┆"
    if beside.problem:
        return "✗"
    if beside.is_foreign:
        return "○"
    return "◆" if branch.origin and branch.origin.hop.step == beside.step else "●"


def _grows_from(branch: TreeBranch, known: Mapping[ModelRef, TreeBranch]) -> tuple[ModelRef, int] | None:
    origin = branch.origin
    if origin is None or origin.attach is None or origin.hop.ref.model not in known:
        return None
    return origin.hop.ref.model, origin.attach


def _depth(branches: Sequence[TreeBranch], known: Mapping[ModelRef, TreeBranch]) -> int:
    depths: dict[ModelRef, int] = {}
    for branch in branches:  # sources come first
        place = _grows_from(branch, known)
        depths[branch.model] = depths.get(place[0], 0) + 1 if place else 0
    return max(depths.values(), default=0)
