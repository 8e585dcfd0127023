"""What happened to one model: metrics and trajectories, appended line by line.

They stay behind when a model is forked; the past of a fork is read through its lineage (`Segment`s, from the
checkpoint store). Knows lines of JSON; knows neither checkpoints nor tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from art.errors import CorruptCheckpointError
from art.format import layout
from art.format.fields import MAX_COUNT
from art.format.json import parse_object
from art.format.lineage import Segment
from art.format.manifest import finite_metrics, utc_now
from art.names import ModelRef, check_name, parse_step
from art.store import disk, regular

T = TypeVar("T")
Measured = tuple[int, str, Mapping[str, float | None]]
"""A step, a split, and what was measured."""
_METRICS = frozenset({float, int, type(None)})
_Key = tuple[int, str, frozenset[tuple[str, float | None]]]
TRAIN, VALIDATION = "train", "val"
"""The split that training itself writes under."""
MAX_LINE_BYTES = 256 * 1024**2
"""Of trajectories: a group of long ones with the probabilities of all their tokens fits."""
MAX_HISTORY_BYTES = 1024**3
MAX_TRAJECTORIES_BYTES = 16 * 1024**3
"""Of one step under one split. A file with a hole in it claims terabytes, and takes none."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a history: the metrics of a step under one split, named `split/metric`."""

    model: ModelRef
    step: int
    split: str
    time: str
    metrics: Mapping[str, float | None]


class HistoryStore:
    """The histories below one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, model: ModelRef, step: int, *, split: str, metrics: Mapping[str, float | None]) -> Entry:
        """Write the metrics of a step; returns when they are on the disk. A name with a / in it gets no split."""
        check_name("split", split)
        entry = _new_entry(model, step, split=split, metrics=metrics)
        disk.append_lines(self.root / layout.history_path(model), [_line_of(entry)])
        return entry

    def append_missing(self, model: ModelRef, measured: Iterable[Measured]) -> None:
        """Write metrics of steps, but those that stand in the history already, number for number.

        Of two processes that write down the same, one does. What a rewind has left is written again. No clock is asked:
        it may have been set back since.
        """
        for _, split, _ in (measured := list(measured)):
            check_name("split", split)
        entries = [_new_entry(model, step, split=split, metrics=metrics) for step, split, metrics in measured]
        if entries:
            disk.append_lines(self.root / layout.history_path(model), self._missing(model, entries))

    def _missing(self, model: ModelRef, entries: Iterable[Entry]) -> Iterator[bytes]:
        known = set[_Key]()
        newest = -1
        for entry in self.read(model):
            if entry.split == TRAIN and entry.step < newest:
                known = {key for key in known if key[0] <= entry.step}
                newest = entry.step
            known.add(_key(entry))
            newest = max(newest, entry.step if entry.split == TRAIN else -1)
        yield from (_line_of(entry) for entry in entries if _key(entry) not in known)

    def append_trajectories(self, model: ModelRef, step: int, *, split: str, trajectories: Iterable[str]) -> Path:
        """Write trajectories, each already a line of JSON, beside those that the step has."""
        path = self._trajectories_path(model, step, split)
        disk.append_lines(path, (trajectory.encode() for trajectory in trajectories))
        return path

    def read(self, model: ModelRef) -> list[Entry]:
        """Give a model's own entries in the order they were written; a line that a crash tore is left out."""
        lines = _lines(self.root / layout.history_path(model), max_bytes=MAX_HISTORY_BYTES)
        return [entry for line in lines if (entry := parse_line(model, line))]

    def lines_from(self, model: ModelRef, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield the whole lines from a byte of a model's history on, each with the byte that it begins at."""
        file = regular.find_opened(self.root / layout.history_path(model), max_bytes=MAX_HISTORY_BYTES)
        if file is not None:
            with file:
                file.seek(offset)
                while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
                    yield offset, line
                    offset += len(line)

    def read_trajectories(self, model: ModelRef, step: int, *, split: str) -> Iterator[bytes]:
        """Yield the lines that were written at a step of a model, each a document, or what a crash left of one."""
        yield from _lines(self._trajectories_path(model, step, split), max_bytes=MAX_TRAJECTORIES_BYTES)

    def trajectory_steps(self, model: ModelRef, *, split: str) -> list[int]:
        """List the steps that have trajectories under a split, lowest first."""
        folder = self._trajectories_path(model, 0, split).parent
        names = (name.removesuffix(".jsonl") for name in disk.names(folder) if name.endswith(".jsonl"))
        return sorted(step for name in names if (step := parse_step(name)) is not None)

    def read_lineage(self, segments: Iterable[Segment]) -> Iterator[Entry]:
        """Yield the entries of a lineage, oldest segment first."""
        for segment in segments:
            yield from (entry for entry in self.read(segment.model) if entry.step in segment)

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        """Map steps to their newest value of a metric; a metric without a split is looked for under `train`.

        Training at a step means that what lay beyond it was set aside before: older values there are of other weights.
        """
        name = metric if "/" in metric else f"{TRAIN}/{metric}"
        values: dict[int, float | None] = {}
        for segment in segments:
            own: dict[int, float | None] = {}
            newest = -1
            for entry in self.read(segment.model):
                if entry.split == TRAIN and entry.step < newest:
                    own = {step: value for step, value in own.items() if step <= entry.step}
                    newest = entry.step
                if name in entry.metrics and entry.step in segment:
                    own[entry.step] = entry.metrics[name]
                    newest = max(newest, entry.step)
            values.update(own)
        return {step: value for step, value in values.items() if value is not None}

    def _trajectories_path(self, model: ModelRef, step: int, split: str) -> Path:
        check_name("split", split)
        path = self.root / layout.trajectories_path(model, split, step)
        regular.require_folders([path.parent.parent, path.parent])
        return path


History = HistoryStore
"""The name that pages spelled before; kept for one release."""


def in_history(metrics: Mapping[str, T], split: str) -> dict[str, T]:
    """Name metrics as a history does: `split/metric`, unless a name says its split."""
    return {name if "/" in name else f"{split}/{name}": value for name, value in metrics.items()}


def _lines(path: Path, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file; JSON may hold every other character than this one that ends a line of text.

    Raises `CorruptCheckpointError` for a file or a line that is larger than any of ours.
    """
    file = regular.find_opened(path, max_bytes=max_bytes)
    if file is not None:
        with file:
            while line := file.readline(MAX_LINE_BYTES):
                if len(line) == MAX_LINE_BYTES:
                    raise CorruptCheckpointError(f"{path} has a line of more than {MAX_LINE_BYTES:,} bytes.")
                yield line.removesuffix(b"\n")


def _new_entry(model: ModelRef, step: int, *, split: str, metrics: Mapping[str, float | None]) -> Entry:
    named = in_history(finite_metrics(metrics), split)
    return Entry(model=model, step=step, split=split, time=utc_now(), metrics=named)


def _key(entry: Entry) -> _Key:
    return entry.step, entry.split, frozenset(entry.metrics.items())


def _line_of(entry: Entry) -> bytes:
    fields = {"step": entry.step, "split": entry.split, "time": entry.time, **entry.metrics}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def parse_line(model: ModelRef, line: bytes) -> Entry | None:
    """Read a line of a history, None for one that a crash tore or another program wrote."""
    try:
        fields = parse_object(line, where=layout.HISTORY)
    except CorruptCheckpointError:
        return None
    step, split, time = fields.get("step"), fields.get("split", TRAIN), fields.get("time", "")
    if type(step) is not int or not 0 <= step <= MAX_COUNT or not isinstance(split, str) or not isinstance(time, str):
        return None
    metrics = {name: value for name, value in fields.items() if "/" in name and type(value) in _METRICS}
    return Entry(model=model, step=step, split=split, time=time, metrics=metrics)
