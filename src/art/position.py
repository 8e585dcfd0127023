"""Where in a data set a run is: what each step took of it, so that nothing is skipped and nothing comes twice.

A position counts the items of all epochs, one after the other. Pure but for one variable: the batch that a script works
on, which groups note when they are made. Knows neither models nor checkpoints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import PydanticSerializationError, to_json

SAMPLED_ITEMS = 256
"""Of a longer data set so many, evenly spread, tell it from others."""
Span = tuple[int, int]
"""The positions from the first on, up to the second one and without it."""


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """What one batch takes of a data set."""

    dataset: str
    """What tells the data set from others."""
    size: int
    """How many items an epoch has."""
    began: int
    """Where this pass over the data set began: all before counts as done."""
    span: Span


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far training has come in a data set: all before `front`, and what was trained on ahead of it.

    Between the two lie the batches that were under way.
    """

    size: int
    front: int
    ahead: tuple[Span, ...] = ()

    def after(self, span: Span) -> Reached:
        """Give what is reached when a batch was trained on, too."""
        front, ahead = self.front, list[Span]()
        for first, end in sorted({*self.ahead, span}):
            if first <= front:
                front = max(front, end)
            else:
                ahead.append((first, end))
        return Reached(size=self.size, front=front, ahead=tuple(ahead))

    def is_done(self, position: int) -> bool:
        return position < self.front or any(first <= position < end for first, end in self.ahead)


def reached_with(known: Mapping[str, Reached], places: Iterable[BatchPlace]) -> dict[str, Reached]:
    """Give where a run is in each of its data sets after it was trained on these batches."""
    reached = dict(known)
    for place in sorted(places, key=lambda place: place.span):
        before = reached.get(place.dataset) or Reached(size=place.size, front=place.began)
        reached[place.dataset] = before.after(place.span)
    return reached


@dataclass
class Positions:
    """Where a model is in its data sets, as it was committed with its newest step."""

    reached: Mapping[str, Reached] = field(default_factory=dict[str, Reached])
    moves: int = 0
    """How often the model was moved to another checkpoint than the one it was at: by a fork, a rewind, a guard."""

    def commit(self, reached: Mapping[str, Reached]) -> None:
        self.reached = reached

    def move(self, reached: Mapping[str, Reached]) -> None:
        self.reached = reached
        self.moves += 1


class CourseStanding(Protocol):
    """A model that knows where it is in its data sets."""

    @property
    def positions(self) -> Positions: ...


class Step(int):
    """The newest step of a model, a number that knows where the model is in its data sets.

    >>> Step(3, Positions()) + 1
    4
    """

    positions: Positions

    def __new__(cls, number: int, positions: Positions) -> Step:
        made = super().__new__(cls, number)
        made.positions = positions
        return made

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


@dataclass(frozen=True, kw_only=True)
class Course:
    """A data set cut into batches, epoch after epoch: only the last batch of an epoch may be shorter."""

    size: int
    batch: int
    epochs: int

    @property
    def end(self) -> int:
        return self.size * self.epochs

    @property
    def batches(self) -> int:
        return self._per_epoch * self.epochs

    def begin_of(self, number: int) -> int:
        """Give the position that a batch begins at."""
        epoch, behind = divmod(number, self._per_epoch) if self._per_epoch else (0, 0)
        return epoch * self.size + behind * self.batch

    def number_of(self, position: int) -> tuple[int, int, int]:
        """Give the number of the batch that a position lies in, its epoch, and its number in the epoch."""
        epoch, behind = divmod(position, self.size)
        return epoch * self._per_epoch + behind // self.batch, epoch, behind // self.batch

    def end_of(self, position: int) -> int:
        """Give where the batch ends that a position lies in."""
        number, _, _ = self.number_of(position)
        return self.begin_of(number + 1)

    @property
    def _per_epoch(self) -> int:
        return -(-self.size // self.batch)


def spans_from(course: Course, position: int, reached: Reached | None) -> Iterator[tuple[Span, list[int]]]:
    """Yield the batches from a position on, each with those of its positions that nothing was trained on yet."""
    while position < course.end:
        end = course.end_of(position)
        left = [each for each in range(position, end) if not (reached and reached.is_done(each))]
        if left:
            yield (position, end), left
        position = end


_current: ContextVar[BatchPlace | None] = ContextVar("art_place", default=None)


def current_place() -> BatchPlace | None:
    """Give the batch that the script works on, None outside of a loop over a data set."""
    return _current.get()


def set_place(place: BatchPlace | None) -> BatchPlace | None:
    """Make a batch the one that the script works on; gives the one before."""
    before = _current.get()
    _current.set(place)
    return before


def identity_of(dataset: Sequence[Any]) -> str | None:
    """Tell a data set from others by its length and its items; None where an item has no form in JSON."""
    size = len(dataset)
    spread = range(size) if size <= SAMPLED_ITEMS else [size * place // SAMPLED_ITEMS for place in range(SAMPLED_ITEMS)]
    hasher = hashlib.blake2b(str(size).encode(), digest_size=8)
    try:
        for index in spread:
            hasher.update(b"\n" + to_json(dataset[index]))
    except (PydanticSerializationError, ValueError, TypeError):
        return None
    return hasher.hexdigest()
