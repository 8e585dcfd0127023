"""A chart of what models earned, at their first and their last step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art.utils.benchmarking.charts.curves import curves_of, draw_perfect, new_axes
from art.utils.benchmarking.types import BenchmarkModelKey

MOST_OF_A_SHARE = 1.01
"""Where nothing is above it, the numbers are shares, which a bar shows in per cent."""


def percentage_comparison_bar_chart(
    df: Any,
    metric_name: str,
    models: Iterable[str | BenchmarkModelKey] | None = None,
    title: str | None = None,
    y_label: str | None = None,
    perfect_score: float | None = None,
    num_decimals: int = 0,
) -> Any:
    """Draw a bar for each model: the mean of a metric at its first step, and hatched what the last one has gained.

    The number above a bar has `num_decimals` digits after the point.
    """
    curves = curves_of(df, metric_name, models)
    ends = {name: (values[0], values[-1]) for name, values in ((n, [*c.values()]) for n, c in curves.items())}
    scale, unit = (100, "%") if max(map(max, ends.values())) <= MOST_OF_A_SHARE else (1, "")
    figure, axes = new_axes(title or metric_name)
    for name, (first, last) in ends.items():
        axes.bar(name, first * scale)
        if last != first:
            axes.bar(name, (last - first) * scale, bottom=first * scale, hatch="///")
        axes.text(name, max(first, last) * scale, f"{last * scale:.{num_decimals}f}{unit}", ha="center", va="bottom")
    draw_perfect(axes, None if perfect_score is None else perfect_score * scale)
    axes.set_ylabel(y_label or "")
    return figure
