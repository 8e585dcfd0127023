"""What charts of models have in common: the curves of a metric, and the axes they are drawn on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from art.errors import ConfigurationError
from art.utils.benchmarking.types import BenchmarkModelKey

Curve = dict[int, float]
"""The mean of a metric at each step, lowest step first."""


def curves_of(df: Any, metric: str, models: Iterable[str | BenchmarkModelKey] | None) -> dict[str, Curve]:
    """Give the curves by the names that are shown: in the order asked for, or else those of several steps first."""
    column = metric if metric in df.columns else f"metric_{metric}"
    if column not in df.columns:
        raise ConfigurationError(f"No trajectory has the metric {metric!r}; there are {', '.join(df.columns)}.")
    rows = list(df.select("model", "split", "step", column).iter_rows())
    if models is not None:
        keys = [model if isinstance(model, BenchmarkModelKey) else BenchmarkModelKey(model) for model in models]
        curves = {key.display_name: _curve(rows, key.name, key.split) for key in keys}
    else:
        curves = {name: _curve(rows, name, None) for name in sorted({row[0] for row in rows})}
        curves = dict(sorted(curves.items(), key=lambda named: len(named[1]) <= 1))
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        raise ConfigurationError(f"No trajectory of these models and splits has the metric {metric!r}.")
    return curves


def _curve(rows: Iterable[tuple[Any, ...]], name: str, counted: str | None) -> Curve:
    """Give the means of a model's trajectories; of all splits where `counted` is None."""
    values: Mapping[int, list[float]] = defaultdict(list)
    for model, split, step, value in rows:
        if model == name and counted in (None, split) and value is not None:
            values[step].append(value)
    return {step: fmean(values[step]) for step in sorted(values)}


def new_axes(title: str) -> tuple[Any, Any]:
    try:
        from matplotlib import pyplot  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise ImportError("Charts are drawn by Matplotlib: pip install 'artfork[plotting]'") from None
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_perfect(axes: Any, score: float | None) -> None:
    if score is not None:
        axes.axhline(score, color="dimgray", linewidth=1)
        axes.annotate("Perfect score", (0.02, score), xycoords=("axes fraction", "data"), va="top", color="dimgray")
