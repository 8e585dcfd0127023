"""The histories of a root as series and in short; of a file that has grown only the new lines are read.

In short means by `summary.json` where there is one that fits. Summaries are for the eye: what deletes, forks or guards
reads `series` and `past`, which come from the histories alone.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from art.errors import ArtError, CorruptCheckpointError
from art.format import layout
from art.format.lineage import Segment
from art.names import ModelRef
from art.ops.judge import REWARD
from art.ops.series import GrowingSeries, Series, stitched
from art.ops.summary import (
    MAX_SUMMARY_BYTES,
    Grounds,
    Judged,
    Mark,
    Own,
    judged_of,
    own_of,
    read_summary,
    write_summary,
)
from art.store import regular, sealed
from art.store.history import MAX_HISTORY_BYTES, MAX_LINE_BYTES, TRAIN, HistoryStore, parse_line

LONG_BYTES = 64 * 1024
"""A shorter history is read as soon as its summary."""
TAIL_BYTES = 4096
Stamp = tuple[int, int, int]


@dataclass
class _Reading:
    """A history, as far as it was read."""

    rows: GrowingSeries = field(default_factory=GrowingSeries)
    mark: Mark | None = None
    stamp: Stamp | None = None
    series: Series = field(default_factory=Series)


class Histories:
    """Reads each model's history once, and of one that has grown what came since."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._history = HistoryStore(root)
        self._readings: dict[ModelRef, _Reading] = {}
        self._reading_on = threading.Lock()
        self._own: dict[ModelRef, tuple[Stamp | None, Mark | None, Own]] = {}
        self._pasts: dict[ModelRef, tuple[tuple[Segment, ...], tuple[Series, ...], Series]] = {}
        self._judged: dict[ModelRef, tuple[Grounds, Judged]] = {}
        self._holding: dict[tuple[ModelRef, int | None, Mark], Stamp] = {}
        self._fresh: set[ModelRef] = set()

    def series(self, model: ModelRef) -> Series:
        """Give a model's own rows; none where its history cannot be read."""
        return self._reading(model).series

    def past(self, segments: Iterable[Segment]) -> Series:
        """Give the rows of a whole past, its forks stitched: the same object as long as no part has changed."""
        parts = tuple(segments)
        shares = tuple(self.series(part.model).between(part.first, part.last) for part in parts)
        kept = self._pasts.get(parts[-1].model)
        # Series that were read before are the same objects, so that comparing them is quick.
        if kept is None or kept[0] != parts or kept[1] != shares:
            kept = (parts, shares, stitched(shares))
            self._pasts[parts[-1].model] = kept
        return kept[2]

    def own(self, model: ModelRef) -> Own:
        """Say in short what a model's own history says."""
        stamp = _stamp(self._path(model))
        kept = self._own.get(model)
        if kept is None:
            kept = self._summarised(model, stamp)
        if kept is None or kept[0] != stamp:
            reading = self._reading(model)
            kept = (reading.stamp, reading.mark, own_of(reading.series))
            self._fresh.add(model)
        self._own[model] = kept
        return kept[2]

    def judged(self, model: ModelRef, segments: Iterable[Segment]) -> Judged:
        """Say how a branch stands by its whole past."""
        parts = tuple(segments)
        self.own(model)
        kept = self._judged.get(model)
        if kept is None or not self._holds(kept[0], parts):
            judged = judged_of(self.past(parts))
            kept = (Grounds(parts, tuple(self._reading(part.model).mark for part in parts)), judged)
            self._judged[model] = kept
            self._fresh.add(model)
        return kept[1]

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        """Map the steps of a past to their values of a metric; one without a split is looked for under `train`."""
        name, parts = metric if "/" in metric else f"{TRAIN}/{metric}", tuple(segments)
        if name != REWARD:
            return dict(self.past(parts).points(name))
        rewards_by_step: dict[int, float] = {}
        for part in parts:
            rewards = self.own(part.model).rewards
            first = bisect_left(rewards, (part.first,))
            rewards_by_step.update(
                rewards[first:] if part.last is None else rewards[first : bisect_left(rewards, (part.last + 1,))]
            )
        return rewards_by_step

    def keep(self) -> None:
        """Write the summaries of long histories that were read anew; nothing is lost where that cannot be."""
        for model in self._fresh:
            stamp, mark, own = self._own.get(model, (None, None, Own()))
            if stamp and mark and mark.size_bytes >= LONG_BYTES:
                with suppress(ValueError):
                    sealed.put(self._summary_path(model), write_summary(own, mark, self._judged.get(model)))
        self._fresh.clear()

    def _reading(self, model: ModelRef) -> _Reading:
        """Read what came since the last time, or everything where the file is another one."""
        stamp = _stamp(self._path(model))
        # Of two threads that read on, the later one would take the lines that the first took for a rewind.
        with self._reading_on:
            reading = self._readings.get(model)
            if reading is None or reading.stamp != stamp:
                is_grown = reading is not None and reading.mark is not None and self._is_grown(model, reading.mark)
                reading = reading if reading is not None and is_grown else _Reading()
                try:
                    self._read_on(model, reading, stamp)
                except ArtError:
                    reading = _Reading()
                reading.stamp = stamp
                self._readings[model] = reading
            return reading

    def _read_on(self, model: ModelRef, reading: _Reading, stamp: Stamp | None) -> None:
        if stamp is None:
            return
        file = regular.find_opened(self._path(model), max_bytes=MAX_HISTORY_BYTES)
        if file is None:
            return
        end, rest = reading.mark.size_bytes if reading.mark else 0, b""
        with file:
            file.seek(end)
            while rest := file.readline(MAX_LINE_BYTES):
                if not rest.endswith(b"\n"):
                    break
                end += len(rest)
                if entry := parse_line(model, rest[:-1]):
                    reading.rows.add(entry)
            if len(rest) == MAX_LINE_BYTES:
                raise CorruptCheckpointError(f"{self._path(model)} has a line of more than {MAX_LINE_BYTES:,} bytes.")
            file.seek(max(0, end - TAIL_BYTES))
            tail = file.read(min(end, TAIL_BYTES))
        reading.mark = Mark(inode=stamp[0], size_bytes=end, tail=_digest(tail))
        reading.series = reading.rows.series()
        # A last line that nobody has ended counts as far as it is whole, and is read again when it has been.
        if rest and (entry := parse_line(model, rest)):
            reading.series = reading.rows.with_entry(entry)

    def _summarised(self, model: ModelRef, stamp: Stamp | None) -> tuple[Stamp, Mark, Own] | None:
        """Read a summary that says what the history says; one that does not fit, or is somebody else's, is none."""
        path = self._summary_path(model)
        if stamp is None or stamp[1] < LONG_BYTES:
            return None
        # In short: what is longer than the history itself is none, and takes no time.
        content = sealed.find(path, max_bytes=min(MAX_SUMMARY_BYTES, LONG_BYTES + stamp[1]))
        if content is None:
            return None
        try:
            mark, own, judged = read_summary(content, where=str(path))
        except ArtError:
            return None
        if not self._is_grown(model, mark):
            return None
        if judged:
            self._judged[model] = judged
        return (stamp, mark, own) if mark.size_bytes == stamp[1] else None

    def _holds(self, grounds: Grounds, parts: tuple[Segment, ...]) -> bool:
        pairs = zip(grounds.parts, grounds.marks, strict=True)
        return grounds.parts == parts and all(self._holds_for(part, mark) for part, mark in pairs)

    def _holds_for(self, part: Segment, mark: Mark | None) -> bool:
        """Tell whether a model's share of a past is what it was when its history was read up to a mark."""
        stamp = _stamp(self._path(part.model))
        if mark is None or stamp is None:
            return mark is None and stamp is None
        key = (part.model, part.last, mark)
        if self._holding.get(key) != stamp:
            if not (self._is_grown(part.model, mark) and self._is_beyond(part, mark, stamp)):
                return False
            self._holding[key] = stamp
        return True

    def _is_beyond(self, part: Segment, mark: Mark, stamp: Stamp) -> bool:
        """Tell whether all that was written since lies beyond a part of a past."""
        if stamp[1] == mark.size_bytes:
            return True
        if part.last is None:
            return False
        with suppress(ArtError):
            lines = self._history.lines_from(part.model, mark.size_bytes)
            entries = (entry for _, line in lines if (entry := parse_line(part.model, line)))
            return all(entry.step > part.last for entry in entries)
        return False

    def _is_grown(self, model: ModelRef, mark: Mark) -> bool:
        """Tell whether a history is the file that was read up to a mark, with lines added at most."""
        with suppress(ArtError, OSError):
            file = regular.find_opened(self._path(model))
            if file is not None:
                with file:
                    status = os.fstat(file.fileno())
                    if status.st_ino != mark.inode or status.st_size < mark.size_bytes:
                        return False
                    file.seek(max(0, mark.size_bytes - TAIL_BYTES))
                    return _digest(file.read(min(mark.size_bytes, TAIL_BYTES))) == mark.tail
        return False

    def _path(self, model: ModelRef) -> Path:
        return self._root / layout.history_path(model)

    def _summary_path(self, model: ModelRef) -> Path:
        return self._root / layout.summary_path(model)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stamp(path: Path) -> Stamp | None:
    """Give what changes when a file is written to: its inode, size and time; None where there is no regular one."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
