"""Curves of few points and few digits, as they are drawn. Pure: the extremes stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from operator import itemgetter

from art.ops.series import Point, Series, StepRow

SPARK_POINTS = 60
DIGITS = 4


def spark(points: Sequence[Point], *, most: int = SPARK_POINTS) -> list[list[float | None]]:
    """Thin a curve: of each share of the points the lowest and the highest, in their order."""
    if len(points) > most:
        shares = most // 2
        cut = [points[len(points) * at // shares : len(points) * (at + 1) // shares] for at in range(shares)]
        points = [point for share in cut for point in _extremes(share)]
    return [[step for step, _ in points], [short(value) for _, value in points]]


def _extremes(share: Sequence[Point]) -> list[Point]:
    ends = {min(share, key=itemgetter(1)), max(share, key=itemgetter(1))}
    return sorted(ends)


def thinned(series: Series, names: Collection[str], *, most: int) -> Sequence[StepRow]:
    """Leave out rows where there are more than `most`: the extremes of each metric stay, and some between."""
    if len(series.rows) <= most:
        return series.rows
    kept = {row.step for row in series.rows[:: 2 * len(series.rows) // most + 1]}
    for name in names:
        steps, _ = spark(series.points(name), most=max(2, most // (2 * len(names))))
        kept.update(int(step) for step in steps if step is not None)
    return [row for row in series.rows if row.step in kept]


def short(value: float | None) -> float | None:
    """Round to four significant digits; what is not finite has no place in JSON."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
