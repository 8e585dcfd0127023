"""A model's own history as a table: a line a step, a column a metric. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from art.cli.render import wording

WIDTH = 10


def history_lines(document: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the metrics of `documents.history_document`, those of training first, and what rewinds set aside below."""
    names = sorted(document["metrics"], key=lambda name: (not name.startswith("train/"), name))
    widths = {name: max(WIDTH, len(name)) for name in names}
    yield Text("  step  " + "  ".join(f"{name:>{widths[name]}}" for name in names), "dim")
    yield from _rows(document, widths, style="")
    for tail in document["tails"]:
        yield Text("  set aside", "yellow")
        yield from _rows(tail, widths, style="dim")
    if document["thinned"]:
        yield Text("  Of many steps those are shown where a metric was highest or lowest.", "dim")


def _rows(part: Mapping[str, Any], widths: Mapping[str, int], *, style: str) -> Iterator[Text]:
    for place, step in enumerate(part["steps"]):
        values = [part["metrics"][name][place] for name in widths]
        cells = [
            f"{'–' if value is None else wording.value(value):>{width}}"
            for value, width in zip(values, widths.values(), strict=True)
        ]
        yield Text(f"{step:>6}  " + "  ".join(cells), style)
