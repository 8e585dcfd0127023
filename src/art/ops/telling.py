"""What a store's histories say, told to trackers: from where the last telling ended, and once more whole.

How far a tracker was told is a small file of the model, `trackers/NAME.json`. It is written after the tracker took the
points, so that a crash in between tells some of them twice and none never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from art.errors import CorruptCheckpointError
from art.format import layout
from art.format.fields import Count
from art.format.json import canonical_json, parse_as, shown
from art.format.lineage import Segment, segments
from art.format.manifest import Manifest, digest_bytes
from art.names import CheckpointRef, ModelRef
from art.ops.pricing import COST, cost_by_clock
from art.ops.recording import read_lines
from art.ops.series import StepRow, series_of
from art.store import disk, regular, staging
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, HistoryStore, parse_line
from art.store.state import States
from art.store.store import CheckpointStore
from art.track.tracker import Point, Run, RunParent, Tracker

MAX_CURSOR_BYTES = 4096
LONGEST_WAIT_S = 30.0
"""For another process that tells a tracker of the same model; what is not told then is told at the next step."""
AT_ONCE = 1000
"""Points that are handed to a tracker together."""


@dataclass(frozen=True)
class TrackerReport:
    """One kind of tracker that models are reported to."""

    name: str
    make: Callable[[], Tracker]
    has_rollouts: bool = True


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a tracker was told now."""

    run: str
    points: int = 0
    inherited: int = 0
    rollouts: int = 0
    """How many groups of them."""


class Cursor(BaseModel):
    """How far a tracker was told of a model."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    run: str
    number: Count = 1
    """How many runs the model was told as."""
    origin: str | None = None
    """The fork that the model began with."""
    inherited: Count = 0
    """How many points come from before the fork."""
    told: Count = 0
    """How many points were told, those among them."""
    index: Count = 0
    """Of the next point of its own."""
    newest: int = -1
    """The highest step that was trained from, as far as it was told and not left by a rewind."""
    begin: Count = 0
    """The byte of the history at which the last line begins that was told."""
    end: Count = 0
    digest: str | None = None
    """Of that line."""

    def next_run(self, model: ModelRef, **fields: Any) -> Cursor:
        """Begin another run of the same model."""
        number = self.number + 1
        return Cursor(run=_run_name(model, number), number=number, **fields)

    def after(self, line: _Line) -> Cursor:
        """Give the cursor as it is once a line was told."""
        if not line.end:
            return self.model_copy(update={"told": self.told + 1})
        place = {"begin": line.begin, "end": line.end, "digest": line.digest}
        counts = {"told": self.told + 1, "index": line.point.index + 1, "newest": line.newest}
        return self.model_copy(update={**place, **counts})


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A point, and the line of the model's own history that it comes from; an inherited one has none."""

    point: Point
    split: str = TRAIN
    begin: int = 0
    end: int = 0
    digest: str | None = None
    newest: int = -1


@dataclass
class Teller:
    """Tells one kind of tracker about models, and keeps the tracker of each open."""

    store: CheckpointStore
    report: TrackerReport
    _open: dict[ModelRef, tuple[Run, Tracker]] = field(default_factory=dict[ModelRef, "tuple[Run, Tracker]"])

    def tell(self, model: ModelRef, *, again: bool = False, price: float | None = None) -> Told:
        """Tell what was not told yet, or all of it `again` as a new run.

        With the `price` of an hour by the clock each point says what the model has cost until then.
        Waits for another process that tells the same, and no longer than that is worth. Raises `TrackerError` when
        the tracker does not take it, and the store's errors.
        """
        with disk.exclusive(self._path(model).parent, (), within_s=LONGEST_WAIT_S):
            return self._tell(model, again=again, price=price)

    def _tell(self, model: ModelRef, *, again: bool, price: float | None) -> Told:
        manifest = _newest(self.store, model)
        cursor = self._cursor(model, manifest, again=again)
        parent = self._parent(manifest) if manifest and manifest.ancestry else None
        inherited: list[_Line] = []
        if cursor.told < cursor.inherited or not cursor.told:
            inherited = _inherited(self.store, model, manifest)
            # The rows of a fork that W&B's server made come after its parent's.
            first = max(len(inherited), parent.index + 1 if parent else 0)
            cursor = cursor.model_copy(update={"inherited": len(inherited), "index": max(cursor.index, first)})
        own = list(_own(self.store, model, cursor))
        if price is not None:
            cost = cost_by_clock(HistoryStore(self.store.root).read(model), price)
            own = [_with_cost(line, cost) for line in own]
        lines = [*inherited[cursor.told :], *own]
        if not lines:
            return Told(run=cursor.run)
        described = States(self.store.root).described(model)
        tracker = self._tracker(_run(model, cursor, parent, settings={**_settings(manifest), **described}))
        for part in _parts(lines):
            tracker.log([line.point for line in part])
            cursor = reduce(Cursor.after, part, cursor)
            self._write(model, cursor)
        rollouts = self._tell_rollouts(tracker, model, own) if self.report.has_rollouts else 0
        return Told(run=cursor.run, points=len(lines), inherited=len(lines) - len(own), rollouts=rollouts)

    def close(self) -> None:
        """Let go of every run."""
        while self._open:
            self._open.popitem()[1][1].close()

    def _cursor(self, model: ModelRef, manifest: Manifest | None, *, again: bool) -> Cursor:
        """Give where to go on; a run of another fork, or of another history, is not continued."""
        cursor = self._read(model)
        origin = _origin(manifest)
        if cursor is None:
            return Cursor(run=_run_name(model, 1), origin=origin)
        if again or not _is_continued(self.store, model, cursor):
            return cursor.next_run(model, origin=origin)
        if manifest is not None and cursor.origin != origin:
            return cursor.next_run(model, origin=origin, begin=cursor.begin, end=cursor.end, digest=cursor.digest)
        return cursor

    def _tracker(self, run: Run) -> Tracker:
        """Give the tracker of a run, told of its settings as they are now."""
        opened, tracker = self._open.get(run.model, (None, None))
        if tracker is not None and opened is not None and opened.name != run.name:
            del self._open[run.model]
            tracker.close()
            tracker = None
        tracker = tracker or self.report.make()
        if opened is None or (opened.name, opened.settings) != (run.name, run.settings):
            tracker.open(run)
        self._open[run.model] = (run, tracker)
        return tracker

    def _parent(self, manifest: Manifest) -> RunParent:
        ref, digest = manifest.ancestry[-1].ref, manifest.ancestry[-1].digest
        cursor = self._read(ref.model)
        checkpoint = _open(self.store, ref)
        return RunParent(
            ref=ref,
            run=cursor.run if cursor else ref.model.name,
            index=_index_at(self.store, ref, cursor) if cursor else -1,
            where=checkpoint.path.as_uri() if checkpoint and checkpoint.digest == digest else None,
        )

    def _tell_rollouts(self, tracker: Tracker, model: ModelRef, lines: Iterable[_Line]) -> int:
        history = HistoryStore(self.store.root)
        told = 0
        for step, split in sorted({(line.point.step, line.split) for line in lines}):
            groups = list(read_lines(history.read_trajectories(model, step, split=split)))
            if groups:
                tracker.rollouts(step, split, groups)
                told += len(groups)
        return told

    def _path(self, model: ModelRef) -> Path:
        path = self.store.root / layout.told_path(model, self.report.name)
        regular.require_folders([path.parent])
        return path

    def _read(self, model: ModelRef) -> Cursor | None:
        path = self._path(model)
        content = regular.find(path, max_bytes=MAX_CURSOR_BYTES)
        if content is None:
            return None
        cursor = parse_as(Cursor, content, where=str(path), what="how far a tracker was told")
        # Trackers make folders of this name.
        if cursor.run != _run_name(model, cursor.number):
            raise CorruptCheckpointError(f"{path} calls run {cursor.number} of {model} {shown(cursor.run)}.")
        return cursor

    def _write(self, model: ModelRef, cursor: Cursor) -> None:
        content = canonical_json(cursor.model_dump(mode="json"))
        staging.put_file(self._path(model), content, self.store.root / layout.STAGING)


def _run_name(model: ModelRef, number: int) -> str:
    return model.name if number == 1 else f"{model.name}-{number}"


def _newest(store: CheckpointStore, model: ModelRef) -> Manifest | None:
    """Read the newest manifest; damage to a checkpoint keeps nobody from its model's history."""
    checkpoints = (_open(store, model.at(step)) for step in reversed(store.steps(model)))
    return next((checkpoint.description for checkpoint in checkpoints if checkpoint), None)


def _open(store: CheckpointStore, ref: CheckpointRef) -> Checkpoint | None:
    try:
        return store.find(ref)
    except CorruptCheckpointError:
        return None


def _run(model: ModelRef, cursor: Cursor, parent: RunParent | None, *, settings: Mapping[str, Any]) -> Run:
    return Run(
        model=model,
        name=cursor.run,
        inherited=cursor.inherited,
        told=cursor.told,
        parent=parent,
        settings=settings,
    )


def _parts(lines: Sequence[_Line]) -> Iterator[Sequence[_Line]]:
    yield from (lines[first : first + AT_ONCE] for first in range(0, len(lines), AT_ONCE))


def _inherited(store: CheckpointStore, model: ModelRef, manifest: Manifest | None) -> list[_Line]:
    """Give the points of a model's ancestors, oldest first, without the updates that led away from its past."""
    history = HistoryStore(store.root)
    rows = [
        (part, row)
        for part in segments(model, manifest)[:-1]
        for row in series_of(history.read(part.model)).between(part.first, part.last).rows
    ]
    kept = [(part, row, metrics) for part, row in rows if (metrics := _of_past(part, row))]
    return [
        _Line(point=_point(index, row.step, row.time, metrics=metrics, inherited_from=part.model))
        for index, (part, row, metrics) in enumerate(kept)
    ]


def _of_past(part: Segment, row: StepRow) -> Mapping[str, float]:
    if row.step != part.last:
        return row.metrics
    # The update that the ancestor took there led to weights that the fork never had.
    return {name: value for name, value in row.metrics.items() if not name.startswith(f"{TRAIN}/")}


def _own(store: CheckpointStore, model: ModelRef, cursor: Cursor) -> Iterator[_Line]:
    """Yield the points of a model's own history that were not told, in the order they were written."""
    index, newest = cursor.index, cursor.newest
    for begin, line in HistoryStore(store.root).lines_from(model, cursor.end):
        entry = parse_line(model, line)
        if entry is None:
            continue
        is_trained = entry.split == TRAIN
        rewound = is_trained and entry.step < newest
        newest = entry.step if rewound else max(newest, entry.step if is_trained else -1)
        metrics = {name: float(value) for name, value in entry.metrics.items() if value is not None}
        point = _point(index, entry.step, entry.time, metrics=metrics, is_after_rewind=rewound)
        end = begin + len(line)
        yield _Line(point=point, split=entry.split, begin=begin, end=end, digest=digest_bytes(line), newest=newest)
        index += 1


def _with_cost(line: _Line, cost: Callable[[float], float]) -> _Line:
    metrics = {**line.point.metrics, COST: cost(line.point.time_s)}
    return replace(line, point=replace(line.point, metrics=metrics))


def _point(index: int, step: int, time: str, **fields: Any) -> Point:
    return Point(index=index, step=step, time_s=_seconds(time), **fields)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0


def _is_continued(store: CheckpointStore, model: ModelRef, cursor: Cursor) -> bool:
    """Tell whether a history still has the line that was told last, where it was."""
    if cursor.digest is None:
        return True
    _, line = next(HistoryStore(store.root).lines_from(model, cursor.begin), (0, b""))
    return digest_bytes(line) == cursor.digest


def _index_at(store: CheckpointStore, ref: CheckpointRef, cursor: Cursor) -> int:
    """Give the index of the last point of a run that belongs to the past of a fork from `ref`, -1 if it is unclear."""
    if cursor.number != 1:
        return -1
    beginning = cursor.model_copy(update={"index": 0, "end": 0})
    own = list(_own(store, ref.model, beginning))
    first = cursor.index - sum(1 for line in own if line.end <= cursor.end)
    points = list(takewhile(lambda line: not _is_beyond(line, ref.step), own))
    return first + len(points) - 1 if points and points[-1].end <= cursor.end else -1


def _is_beyond(line: _Line, step: int) -> bool:
    return line.point.step > step or (line.split == TRAIN and line.point.step == step)


def _origin(manifest: Manifest | None) -> str | None:
    hop = manifest.ancestry[-1] if manifest and manifest.ancestry else None
    return f"{hop.ref} {hop.digest}" if hop else None


def _settings(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    base = {"base_model": manifest.base_model.id} if manifest.base_model else {}
    lora = {f"lora_{name}": value for name, value in manifest.lora.model_dump().items()} if manifest.lora else {}
    return {**base, **lora, **manifest.settings}
