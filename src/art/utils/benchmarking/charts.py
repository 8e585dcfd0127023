"""Charts of what models earned, from the table that `load_trajectories` gives. Matplotlib draws them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from art.errors import ConfigurationError
from art.utils.benchmarking.types import BenchmarkModelKey

Curve = dict[int, float]
"""The mean of a metric at each step, lowest step first."""
MOST_OF_A_SHARE = 1.01
"""Where nothing is above it, the numbers are shares, which a bar shows in per cent."""


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
    curves = _curves(df, metric_name, models)
    steps = [step for curve in curves.values() for step in curve]
    figure, axes = _axes(title or metric_name)
    for name, curve in curves.items():
        if len(curve) > 1:
            axes.plot(list(curve), list(curve.values()), marker="o", label=name)
        else:
            axes.plot([min(steps), max(steps)], [*curve.values()] * 2, linestyle="--", label=name)
    _draw_perfect(axes, perfect_score)
    axes.set_xlabel("Step" if x_label is None else x_label)
    axes.set_ylabel(y_label or "")
    axes.legend(loc=legend_loc)
    return figure


def percentage_comparison_bar_chart(
    df: Any,
    metric_name: str,
    models: Iterable[str | BenchmarkModelKey] | None = None,
    title: str | None = None,
    y_label: str | None = None,
    perfect_score: float | None = None,
) -> Any:
    """Draw a bar for each model: the mean of a metric at its first step, and hatched what the last one has gained."""
    curves = _curves(df, metric_name, models)
    ends = {name: (values[0], values[-1]) for name, values in ((n, [*c.values()]) for n, c in curves.items())}
    scale, unit = (100, "%") if max(map(max, ends.values())) <= MOST_OF_A_SHARE else (1, "")
    figure, axes = _axes(title or metric_name)
    for name, (first, last) in ends.items():
        axes.bar(name, first * scale)
        if last != first:
            axes.bar(name, (last - first) * scale, bottom=first * scale, hatch="///")
        axes.text(name, max(first, last) * scale, f"{last * scale:.0f}{unit}", ha="center", va="bottom")
    _draw_perfect(axes, None if perfect_score is None else perfect_score * scale)
    axes.set_ylabel(y_label or "")
    return figure


def _curves(df: Any, metric: str, models: Iterable[str | BenchmarkModelKey] | None) -> dict[str, Curve]:
    """Give the curves by the names that are shown: in the order asked for, or else those of several steps first."""
    column = metric if metric in df.columns else f"metric_{metric}"
    if column not in df.columns:
        raise ConfigurationError(f"No trajectory has the metric {metric!r}; there are {', '.join(df.columns)}.")
    rows = list(df.select("model", "split", "step", column).iter_rows())
    if models is not None:
        keys = [model if isinstance(model, BenchmarkModelKey) else BenchmarkModelKey(model) for model in models]
        curves = {key.display_name: _curve(rows, key) for key in keys}
    else:
        curves = {name: _curve(rows, BenchmarkModelKey(name, split=None)) for name in sorted({row[0] for row in rows})}
        curves = dict(sorted(curves.items(), key=lambda named: len(named[1]) <= 1))
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        raise ConfigurationError(f"No trajectory of these models and splits has the metric {metric!r}.")
    return curves


def _curve(rows: Iterable[tuple[Any, ...]], key: BenchmarkModelKey) -> Curve:
    values: Mapping[int, list[float]] = defaultdict(list)
    for model, split, step, value in rows:
        if model == key.name and key.split in (None, split) and value is not None:
            values[step].append(value)
    return {step: fmean(values[step]) for step in sorted(values)}


def _axes(title: str) -> tuple[Any, Any]:
    try:
        from matplotlib import pyplot  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise ImportError("Charts are drawn by Matplotlib: pip install 'artfork[plotting]'") from None
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_perfect(axes: Any, score: float | None) -> None:
    if score is not None:
        axes.axhline(score, color="dimgray", linewidth=1)
        axes.annotate("Perfect score", (0.02, score), xycoords=("axes fraction", "data"), va="top", color="dimgray")
