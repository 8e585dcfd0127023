"""What happened to one model: metrics and trajectories, appended line by line.

They stay behind when a model is forked; the past of a fork is read through its lineage (`Segment`s, from the
checkpoint store). Knows lines of JSON; knows neither checkpoints nor tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.format import layout
from art.format.lineage import Segment
from art.format.manifest import finite_metrics, utc_now
from art.names import ModelRef, check_name
from art.store import disk

TRAIN = "train"
"""The split that training itself writes under."""


@dataclass(frozen=True)
class Entry:
    """One line of a history: the metrics of a step under one split, named `split/metric`."""

    model: ModelRef
    step: int
    split: str
    time: str
    metrics: Mapping[str, float | None]


class History:
    """The histories below one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, model: ModelRef, step: int, *, split: str, metrics: Mapping[str, float | None]) -> Entry:
        """Write the metrics of a step; returns when they are on the disk. A name with a / in it gets no split."""
        check_name("split", split)
        finite = finite_metrics(metrics)
        named = {name if "/" in name else f"{split}/{name}": value for name, value in finite.items()}
        entry = Entry(model, step, split, utc_now(), named)
        fields = {"step": step, "split": split, "time": entry.time, **named}
        disk.append_lines(self.root / layout.history_path(model), [_line(fields)])
        return entry

    def append_trajectories(self, model: ModelRef, step: int, *, split: str, trajectories: Iterable[str]) -> Path:
        """Write trajectories, each already a line of JSON, beside those that the step has."""
        check_name("split", split)
        path = self.root / layout.trajectories_path(model, split, step)
        disk.append_lines(path, (trajectory.encode() for trajectory in trajectories))
        return path

    def read(self, model: ModelRef) -> list[Entry]:
        """Give a model's own entries in the order they were written; a line that a crash tore is left out."""
        path = self.root / layout.history_path(model)
        if not path.exists():
            return []
        return [entry for line in path.read_bytes().split(b"\n") if (entry := _parse(model, line))]

    def read_lineage(self, segments: Iterable[Segment]) -> Iterator[Entry]:
        """Yield the entries of a lineage, oldest segment first."""
        for segment in segments:
            yield from (entry for entry in self.read(segment.model) if entry.step in segment)

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        """Map steps to their newest value of a metric; a metric without a split is looked for under `train`.

        Training at a step means that what lay beyond it was set aside before: older values there are of other weights.
        """
        name = metric if "/" in metric else f"{TRAIN}/{metric}"
        found: dict[int, float | None] = {}
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
            found.update(own)
        return {step: value for step, value in found.items() if value is not None}


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def _parse(model: ModelRef, line: bytes) -> Entry | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("step"), int):
        return None
    metrics = {name: value for name, value in fields.items() if "/" in name and isinstance(value, float | int | None)}
    return Entry(model, fields["step"], str(fields.get("split", "train")), str(fields.get("time", "")), metrics)
