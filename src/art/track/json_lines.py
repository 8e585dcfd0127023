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

from art.errors import TrackerError
from art.track.conversations import rows_of
from art.track.tracker import Point, Run
from art.trajectories import TrajectoryGroup


class JsonLines:
    """Writes one run."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._folder = folder
        self._written = 0
        """Lines that are there already, though nobody knows that they were told: a crash came in between."""

    def open(self, run: Run) -> None:
        folder = self._root / run.model.project / run.name
        if folder != self._folder:
            self._folder = folder
            self._written = max(0, _lines(folder / "history.jsonl") - run.told)
        parent = run.parent and {"forked_from": str(run.parent.ref), "inherited": run.inherited}
        self._replace(self._folder / "run.json", [{"model": str(run.model), **(parent or {}), **run.settings}])

    def log(self, points: Sequence[Point]) -> None:
        path = self._folder / "history.jsonl"
        fresh, self._written = points[self._written :], max(0, self._written - len(points))
        lines = "".join(f"{json.dumps(_fields(point))}\n" for point in fresh)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrackerError(f"{path} cannot be written: {error}.") from error

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
        self._replace(self._folder / "rollouts" / split / f"{step:04d}.jsonl", rows)

    def close(self) -> None:
        """Nothing is held open."""

    def _replace(self, path: Path, rows: Sequence[Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            fresh.write_text("".join(f"{json.dumps(row, default=str)}\n" for row in rows), encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            raise TrackerError(f"{path} cannot be written: {error}.") from error


def _fields(point: Point) -> dict[str, Any]:
    splits = {name.partition("/")[0] for name in point.metrics}
    time = datetime.fromtimestamp(point.time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"step": point.step, "split": splits.pop() if len(splits) == 1 else "train", "time": time}
    inherited = {"inherited_from": str(point.inherited_from)} if point.inherited_from else {}
    return {**fields, **inherited, **point.metrics}


def _lines(path: Path) -> int:
    """Count the whole lines that a file has; a torn last one is cut off, because it will be written again."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return content.count(b"\n")
