"""A model's history as columns: a row for each step that its weights stood at, oldest first.

Training at a step means that what lay beyond it was set aside: those rows are kept apart, as a tail that was left.
Knows numbers and steps; opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from art.store.history import TRAIN, Entry

Point = tuple[int, float]


@dataclass(frozen=True)
class StepRow:
    """What was written down about one step: metrics named `split/name`, and when the last of them came."""

    step: int
    time: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Series:
    """The rows of one model or of its whole past, and the tails that rewinds left behind."""

    rows: tuple[StepRow, ...] = ()
    tails: tuple[tuple[StepRow, ...], ...] = ()
    _points: dict[str, tuple[Point, ...]] = field(
        default_factory=dict[str, "tuple[Point, ...]"], init=False, repr=False, compare=False
    )
    """What `points` has picked out: a judgement, a curve and a score ask for the same."""

    @property
    def names(self) -> list[str]:
        """The names of all metrics, sorted."""
        return sorted({name for row in self.rows for name in row.metrics})

    def points(self, name: str) -> tuple[Point, ...]:
        """Give the steps that have a metric, and its values."""
        if name not in self._points:
            self._points[name] = tuple((row.step, row.metrics[name]) for row in self.rows if name in row.metrics)
        return self._points[name]

    def points_of_tails(self, name: str) -> tuple[tuple[Point, ...], ...]:
        """Give the same of each tail."""
        return tuple(tuple((row.step, row.metrics[name]) for row in tail if name in row.metrics) for tail in self.tails)

    def total(self, name: str) -> float:
        """Add a metric up over all steps, also those that were left."""
        rows = [*self.rows, *(row for tail in self.tails for row in tail)]
        return sum(row.metrics.get(name, 0.0) for row in rows)

    def between(self, first: int, last: int | None) -> Series:
        """Give the rows from `first` to `last`, both included."""
        return Series(tuple(row for row in self.rows if first <= row.step and (last is None or row.step <= last)))


class GrowingSeries:
    """A history that grows: takes its lines in the order they were written, and gives the rows so far."""

    def __init__(self) -> None:
        self._rows: dict[int, StepRow] = {}
        self._tails: list[tuple[StepRow, ...]] = []
        self._newest = -1

    def add(self, entry: Entry) -> None:
        """Take one line more."""
        if entry.split == TRAIN and entry.step < self._newest:
            self._tails.append(tuple(row for step, row in sorted(self._rows.items()) if step > entry.step))
            self._rows = {step: row for step, row in self._rows.items() if step <= entry.step}
            self._newest = entry.step
        before = self._rows.get(entry.step)
        numbers = {name: float(value) for name, value in entry.metrics.items() if value is not None}
        self._rows[entry.step] = StepRow(entry.step, entry.time, {**before.metrics, **numbers} if before else numbers)
        self._newest = max(self._newest, entry.step)

    def series(self) -> Series:
        """Give what was written so far; a row that has not changed is the same object as before."""
        return Series(tuple(row for _, row in sorted(self._rows.items())), tuple(self._tails))

    def with_entry(self, entry: Entry) -> Series:
        """Give what was written so far and one line more, which is not taken."""
        other = GrowingSeries()
        other._rows, other._tails, other._newest = dict(self._rows), list(self._tails), self._newest
        other.add(entry)
        return other.series()


def series_of(entries: Iterable[Entry]) -> Series:
    """Turn the lines of a history, in the order they were written, into rows."""
    rows = GrowingSeries()
    for entry in entries:
        rows.add(entry)
    return rows.series()


def stitched(parts: Iterable[Series]) -> Series:
    """Join the parts of a past, oldest first; where two have a step, the later part's numbers count."""
    rows: dict[int, StepRow] = {}
    for part in parts:
        rows.update({row.step: row for row in part.rows})
    return Series(tuple(row for _, row in sorted(rows.items())))
