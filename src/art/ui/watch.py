"""What was written below a root since the last look: whole lines of histories, and changed trees.

Looks at sizes and names; a line that is still being written waits until it is whole.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.format import layout
from art.names import ModelRef
from art.store import regular
from art.store.history import Entry, parse_line
from art.store.store import CheckpointStore

MOST_AT_ONCE_BYTES = 1 << 20


@dataclass(frozen=True)
class SeenRoot:
    """What a look found."""

    entries: tuple[dict[str, Any], ...]
    has_changed: bool


class Watch:
    """Remembers how far each history was read, and how each model's folder stood."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._offsets: dict[ModelRef, int] = {}
        self._stamps: dict[ModelRef, tuple[int, ...]] = {}

    def look(self) -> SeenRoot:
        """Give what came since the last look; the first look only remembers."""
        models = self._store.models()
        entries: list[dict[str, Any]] = []
        has_changed = set(models) != self._stamps.keys()
        for gone in self._stamps.keys() - models:
            del self._stamps[gone]
            # Another one of its name begins anew.
            self._offsets.pop(gone, None)
        for model in models:
            entries += self._new_lines(model)
            stamp = self._stamp(model)
            has_changed |= self._stamps.get(model) != stamp
            self._stamps[model] = stamp
        return SeenRoot(tuple(entries), has_changed or bool(entries))

    def _new_lines(self, model: ModelRef) -> list[dict[str, Any]]:
        path = self._store.root / layout.history_path(model)
        size_bytes = _size(path)
        start = self._offsets.setdefault(model, size_bytes)
        if size_bytes <= start:
            self._offsets[model] = size_bytes
            return []
        file = regular.find_opened(path)
        if file is None:
            return []
        with file:
            file.seek(start)
            content = file.read(min(size_bytes - start, MOST_AT_ONCE_BYTES))
        whole = content[: content.rfind(b"\n") + 1]
        self._offsets[model] = start + len(whole)
        return [_fields(entry) for line in whole.split(b"\n") if (entry := parse_line(model, line))]

    def _stamp(self, model: ModelRef) -> tuple[int, ...]:
        folder = self._store.root / layout.model_path(model)
        return tuple(_changed(folder / name) for name in (layout.CHECKPOINTS, layout.SET_ASIDE, "run.json"))


def _fields(entry: Entry) -> dict[str, Any]:
    numbers = {name: value for name, value in entry.metrics.items() if value is not None}
    return {"model": str(entry.model), "step": entry.step, "split": entry.split, "metrics": numbers}


def _size(path: Path) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _changed(path: Path) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0
