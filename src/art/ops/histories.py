"""The histories of a root as series; a file that has not changed since is not read again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from art.errors import ArtError
from art.format import layout
from art.format.lineage import Segment
from art.names import ModelRef
from art.ops.series import Series, series_of, stitched
from art.store.history import TRAIN, History

Stamp = tuple[int, int]
T = TypeVar("T")


class Histories:
    """Reads each model's history once, and again when its file has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._history = History(root)
        self._kept: dict[ModelRef, tuple[Stamp | None, Series]] = {}
        self._pasts: dict[tuple[Segment, ...], tuple[tuple[Series, ...], Series]] = {}
        self._known: dict[ModelRef, tuple[Series, Any]] = {}

    def series(self, model: ModelRef) -> Series:
        """Give a model's own rows; none where its history cannot be read."""
        stamp = _stamp(self._root / layout.history_path(model))
        kept = self._kept.get(model)
        if kept is None or kept[0] != stamp:
            kept = (stamp, self._read(model))
            self._kept[model] = kept
        return kept[1]

    def past(self, segments: Iterable[Segment]) -> Series:
        """Give the rows of a whole past, its forks stitched: the same object as long as no part has changed."""
        parts = tuple(segments)
        wholes = tuple(self.series(part.model) for part in parts)
        kept = self._pasts.get(parts)
        if kept is None or any(before is not now for before, now in zip(kept[0], wholes, strict=True)):
            shares = (whole.between(part.first, part.last) for whole, part in zip(wholes, parts, strict=True))
            kept = (wholes, stitched(shares))
            # Of a past that has grown only the newest form is asked for again.
            self._pasts = {known: past for known, past in self._pasts.items() if known[-1:] != parts[-1:]}
            self._pasts[parts] = kept
        return kept[1]

    def known(self, model: ModelRef, past: Series, work: Callable[[Series], T]) -> T:
        """Give what `work` made of a model's past, and make it again when that has changed."""
        kept = self._known.get(model)
        if kept is None or kept[0] is not past:
            kept = (past, work(past))
            self._known[model] = kept
        return kept[1]

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        """Map the steps of a past to their values of a metric; one without a split is looked for under `train`."""
        return dict(self.past(segments).points(metric if "/" in metric else f"{TRAIN}/{metric}"))

    def _read(self, model: ModelRef) -> Series:
        try:
            return series_of(self._history.read(model))
        except ArtError:
            return Series()


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
