"""A chart of what models earned, over their steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art.utils.benchmarking.charts.curves import curves_of, draw_perfect, new_axes
from art.utils.benchmarking.types import BenchmarkModelKey


def training_progress_chart(
    df: Any,
    metric_name: str,
    models: Iterable[str | BenchmarkModelKey] | None = None,
    title: str | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    perfect_score: float | None = None,
    legend_loc: str | None = "lower right",
) -> Any:
    """Draw the mean of a metric over the steps, a line for each model; level and dashed where there is one step."""
    curves = curves_of(df, metric_name, models)
    steps = [step for curve in curves.values() for step in curve]
    figure, axes = new_axes(title or metric_name)
    for name, curve in curves.items():
        if len(curve) > 1:
            axes.plot(list(curve), list(curve.values()), marker="o", label=name)
        else:
            axes.plot([min(steps), max(steps)], [*curve.values()] * 2, linestyle="--", label=name)
    draw_perfect(axes, perfect_score)
    axes.set_xlabel("Step" if x_label is None else x_label)
    axes.set_ylabel(y_label or "")
    axes.legend(loc=legend_loc)
    return figure
