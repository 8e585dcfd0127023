"""What a model has cost by the clock, at each moment of its own history. Pure: lines in, money out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from art.ops.series import series_of
from art.ops.summary import read_clock
from art.store.history import Entry

COST = "costs/clock"
HOUR_S = 3600


def cost_by_clock(entries: Iterable[Entry], price: float) -> Callable[[float], float]:
    """Give what says for a moment, in seconds since 1970, what a model has cost until then, at a price of an hour.

    Counted as `art status` counts: from the model's first step on, rollouts included and pauses left out.
    """
    series = series_of(entries)
    clock = read_clock(row.time for part in (series.rows, *series.tails) for row in part)
    moments = [moment.timestamp() for moment, _ in clock]

    def cost(time_s: float) -> float:
        place = bisect_right(moments, time_s) - 1
        return clock[place][1] / HOUR_S * price if place >= 0 else 0.0

    return cost
