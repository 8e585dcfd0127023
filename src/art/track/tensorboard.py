"""TensorBoard: a folder of event files for each run, `PROJECT/RUN`.

What a fork inherited is a run of its own beside it, `PROJECT/RUN (inherited)`, so that it has another colour. A rewind
is said as TensorBoard knows it: a session that starts again at a step, which drops what lay behind. Rollouts are
texts: a table for each step.
"""

from __future__ import annotations

import html
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

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
        self._records = package("tensorboard.summary.writer.record_writer")
        self._event = package("tensorboard.compat.proto.event_pb2")
        self._summary = package("tensorboard.compat.proto.summary_pb2")
        self._tensor = package("tensorboard.compat.proto.tensor_pb2")
        self._files: dict[str, BinaryIO] = {}
        self._run: Run | None = None

    def open(self, run: Run) -> None:
        settings = dict(run.settings)
        if run.parent:
            settings = {"forked_from": str(run.parent.ref), **settings}
        if self._run is None or self._run.settings != run.settings:
            rows = [(name, str(value)) for name, value in settings.items()]
            self._run = run
            self._write(run.name, [self._summed(0, self._text("run", table(("setting", "value"), rows)))])

    def log(self, points: Sequence[Point]) -> None:
        assert self._run is not None
        own, inherited = self._run.name, f"{self._run.name}{INHERITED}"
        for name, among in ((inherited, True), (own, False)):
            chosen = [point for point in points if bool(point.inherited_from) is among]
            self._write(name, [event for point in chosen for event in self._events(point)])

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        assert self._run is not None
        cells = [tuple(map(str, row.cells)) for row in rows_of(groups)]
        self._write(self._run.name, [self._summed(step, self._text(f"rollouts/{split}", table(COLUMNS, cells)))])

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _events(self, point: Point) -> Iterator[Any]:
        if point.is_after_rewind:
            # What was told of later steps is dropped.
            session = self._event.SessionLog(status=self._event.SessionLog.START)
            yield self._event.Event(wall_time=point.time_s, step=point.step + 1, session_log=session)
        values = [self._summary.Summary.Value(tag=tag, simple_value=each) for tag, each in point.metrics.items()]
        yield self._summed(point.step, self._summary.Summary(value=values), time_s=point.time_s)

    def _summed(self, step: int, summary: Any, *, time_s: float = 0.0) -> Any:
        return self._event.Event(wall_time=time_s, step=step, summary=summary)

    def _text(self, tag: str, markdown: str) -> Any:
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        tensor = self._tensor.TensorProto(dtype="DT_STRING", string_val=[markdown.encode()])
        metadata = self._summary.SummaryMetadata(plugin_data=plugin)
        return self._summary.Summary(value=[self._summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

    def _write(self, run: str, events: Sequence[Any]) -> None:
        """Write events at once: the package's own writer has a thread, which is gone after the first error."""
        assert self._run is not None
        folder = plain(self._root, self._run.model.project, run)
        if not events:
            return
        with writing(folder):
            try:
                file = self._files.get(run) or self._begun(run, folder)
                for event in events:
                    self._records.RecordWriter(file).write(event.SerializeToString())
                file.flush()
            except OSError:
                # What it holds may be torn: the same events, told again, go into a new one.
                with suppress(OSError, KeyError):
                    self._files.pop(run).close()
                raise

    def _begun(self, run: str, folder: Path) -> BinaryIO:
        folder.mkdir(parents=True, exist_ok=True)
        now_s, place = time.time(), f"{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self._files[run] = file = (folder / f"events.out.tfevents.{now_s:010.0f}.{place}").open("xb")
        version = self._event.Event(wall_time=now_s, file_version="brain.Event:2")
        self._records.RecordWriter(file).write(version.SerializeToString())
        return file


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown; what a cell holds is text, and no markup."""
    lines = [columns, ["---"] * len(columns), *([_cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return html.escape(text).replace("|", "&#124;").replace("\n", "<br>")
