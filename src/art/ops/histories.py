"""The histories of a root as series; a file that has not changed since is not read again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.format.lineage import Segment
from art.names import ModelRef
from art.ops.series import Series, series_of, stitched
from art.store.history import TRAIN, History

Stamp = tuple[int, int]


class Histories:
    """Reads each model's history once, and again when its file has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._history = History(root)
        self._kept: dict[ModelRef, tuple[Stamp | None, Series]] = {}

    def series(self, model: ModelRef) -> Series:
        """Give a model's own rows; none where its history cannot be read."""
        stamp = _stamp(self._root / layout.history_path(model))
        kept = self._kept.get(model)
        if kept is None or kept[0] != stamp:
            kept = (stamp, self._read(model))
            self._kept[model] = kept
        return kept[1]

    def past(self, segments: Iterable[Segment]) -> Series:
        """Give the rows of a whole past, its forks stitched."""
        return stitched(self.series(part.model).between(part.first, part.last) for part in segments)

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
