"""TensorBoard: a folder of event files for each run, `PROJECT/RUN`.

What a fork inherited is a run of its own beside it, `PROJECT/RUN (inherited)`, so that it has another colour. A rewind
is said as TensorBoard knows it: a session that starts again at a step, which drops what lay behind. Rollouts are
texts: a table for each step.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art.errors import TrackerError
from art.track.conversations import COLUMNS, rows_of
from art.track.folders import plain, writing
from art.track.known import package
from art.track.tracker import Point, Run
from art.trajectories import TrajectoryGroup

INHERITED = " (inherited)"


class TensorBoard:
    """Writes the event files of one run."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._files = package("tensorboard.summary.writer.event_file_writer")
        self._event = package("tensorboard.compat.proto.event_pb2")
        self._summary = package("tensorboard.compat.proto.summary_pb2")
        self._tensor = package("tensorboard.compat.proto.tensor_pb2")
        self._writers: dict[str, Any] = {}
        self._run: Run | None = None

    def open(self, run: Run) -> None:
        settings = dict(run.settings)
        if run.parent:
            settings = {"forked_from": str(run.parent.ref), **settings}
        if self._run is None or self._run.settings != run.settings:
            rows = [(name, str(value)) for name, value in settings.items()]
            self._run = run
            self._add(run.name, 0, self._text("run", table(("setting", "value"), rows)))
            self._flush()

    def log(self, points: Sequence[Point]) -> None:
        assert self._run is not None
        for point in points:
            name = f"{self._run.name}{INHERITED}" if point.inherited_from else self._run.name
            if point.is_after_rewind:
                self._forget_beyond(name, point)
            values = [self._summary.Summary.Value(tag=tag, simple_value=each) for tag, each in point.metrics.items()]
            self._add(name, point.step, self._summary.Summary(value=values), time_s=point.time_s)
        self._flush()

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        assert self._run is not None
        cells = [tuple(map(str, row.cells)) for row in rows_of(groups)]
        self._add(self._run.name, step, self._text(f"rollouts/{split}", table(COLUMNS, cells)))
        self._flush()

    def close(self) -> None:
        while self._writers:
            self._writers.popitem()[1].close()

    def _forget_beyond(self, run: str, point: Point) -> None:
        """Drop what was told of later steps."""
        session = self._event.SessionLog(status=self._event.SessionLog.START)
        event = self._event.Event(wall_time=point.time_s, step=point.step + 1, session_log=session)
        self._writer(run).add_event(event)

    def _add(self, run: str, step: int, summary: Any, *, time_s: float = 0.0) -> None:
        self._writer(run).add_event(self._event.Event(wall_time=time_s, step=step, summary=summary))

    def _text(self, tag: str, markdown: str) -> Any:
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        tensor = self._tensor.TensorProto(dtype="DT_STRING", string_val=[markdown.encode()])
        metadata = self._summary.SummaryMetadata(plugin_data=plugin)
        return self._summary.Summary(value=[self._summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

    def _writer(self, run: str) -> Any:
        assert self._run is not None
        if run not in self._writers:
            folder = plain(self._root, self._run.model.project, run)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._writers[run] = self._files.EventFileWriter(str(folder))
        return self._writers[run]

    def _flush(self) -> None:
        for run, writer in self._writers.items():
            try:
                writer.flush()
            except (OSError, ValueError) as error:
                raise TrackerError(f"The events of {run} cannot be written below {self._root}: {error}.") from error


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown; what a cell holds is text, and no markup."""
    lines = [columns, ["---"] * len(columns), *([_cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return html.escape(text).replace("|", "&#124;").replace("\n", "<br>")
