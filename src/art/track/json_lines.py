"""A run as lines of JSON, in the form of a model's own history: `PROJECT/RUN/history.jsonl` below a folder.

A line from before a fork says whose it is. Rollouts lie beside it, a file for each step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from art.track.conversations import rows_of
from art.track.folders import opened_to_append, plain, writing
from art.track.tracker import Point, Run
from art.trajectories import TrajectoryGroup

HISTORY = "history.jsonl"
BLOCK_BYTES = 2**20


class JsonLines:
    """Writes one run."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._folder = folder
        self._written = 0
        """Lines that are there already, though nobody knows that they were told: a crash came in between."""

    def open(self, run: Run) -> None:
        folder = plain(self._root, run.model.project, run.name)
        parent = run.parent and {"forked_from": str(run.parent.ref), "inherited": run.inherited}
        _replace(folder, "run.json", [{"model": str(run.model), **(parent or {}), **run.settings}])
        if folder != self._folder:
            self._folder = folder
            self._written = max(0, _lines(folder / HISTORY) - run.told)

    def log(self, points: Sequence[Point]) -> None:
        path = self._folder / HISTORY
        fresh, self._written = points[self._written :], max(0, self._written - len(points))
        lines = "".join(f"{json.dumps(_fields(point))}\n" for point in fresh)
        with opened_to_append(path) as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        rows: list[dict[str, Any]] = [
            {
                "group": row.group,
                "rollout": row.rollout,
                "reward": row.reward,
                "messages": row.messages,
                "metrics": row.metrics,
            }
            for row in rows_of(groups)
        ]
        _replace(plain(self._folder, "rollouts", split), f"{step:04d}.jsonl", rows)

    def close(self) -> None:
        """Nothing is held open."""


def _replace(folder: Path, name: str, rows: Sequence[Any]) -> None:
    with writing(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        # Newly made: a link of this name would be another file.
        with fresh.open("x", encoding="utf-8") as file:
            file.writelines(f"{to_json(row, fallback=str, inf_nan_mode='null').decode()}\n" for row in rows)
        fresh.replace(folder / name)


def _fields(point: Point) -> dict[str, Any]:
    splits = {name.partition("/")[0] for name in point.metrics}
    time = datetime.fromtimestamp(point.time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"step": point.step, "split": splits.pop() if len(splits) == 1 else "train", "time": time}
    inherited = {"inherited_from": str(point.inherited_from)} if point.inherited_from else {}
    return {**fields, **inherited, **point.metrics}


def _lines(path: Path) -> int:
    """Count the whole lines that a file has; a torn last one is cut off, because it will be written again."""
    count = end = size_bytes = 0
    with opened_to_append(path) as file:
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            count += block.count(b"\n")
            if b"\n" in block:
                end = size_bytes + block.rfind(b"\n") + 1
            size_bytes += len(block)
        file.truncate(end)
    return count
