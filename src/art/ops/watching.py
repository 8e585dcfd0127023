"""A folder in which an unmodified script leaves its checkpoints: each is committed once it is whole.

A trainer writes a checkpoint file by file, and rotates old ones away. One is taken when the file that its trainer
writes last is there, and nothing in it has changed since the look before. What went away too early is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from art.errors import ArtError, ConfigurationError
from art.names import ModelRef
from art.ops import trainer_log
from art.ops.folders import commit_file, commit_folder
from art.store import regular
from art.store.history import History
from art.store.store import CheckpointStore

MAX_NOTE_BYTES = 64
Stamp = Mapping[str, tuple[int, int]]
"""The sizes and times of a checkpoint and of what is in it, by their paths."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one trainer names its checkpoints, and how it shows that one is whole."""

    kind: str
    name: re.Pattern[str]
    is_whole: Callable[[Path], bool]
    is_of: Callable[[Path], bool] = Path.is_dir
    """Tells its checkpoints from another trainer's of the same name."""


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda folder: all(any(folder.glob(pattern)) for pattern in patterns)


def _is_latest(folder: Path) -> bool:
    """Tell whether verl's own note, written last, names this step or a later one."""
    with suppress(ArtError, ValueError):
        note = regular.find(folder.parent / "latest_checkpointed_iteration.txt", max_bytes=MAX_NOTE_BYTES)
        return int(note or b"") >= int(folder.name.split("_")[-1])
    return False


def _is_whole_of_lightning(path: Path) -> bool:
    """Tell whether a checkpoint is whole: Lightning renames a file into place, and ends a folder with `meta.pt`."""
    return path.is_file() or (path / "meta.pt").exists()


LAYOUTS = (
    Layout(kind="hf-trainer", name=re.compile(r"checkpoint-(\d{1,15})"), is_whole=_has("trainer_state.json")),
    Layout(kind="accelerate", name=re.compile(r"checkpoint_(\d{1,15})"), is_whole=_has("random_states_0.pkl")),
    Layout(kind="verl", name=re.compile(r"global_step_(\d{1,15})"), is_whole=_is_latest),
    Layout(
        kind="lightning",
        name=re.compile(r"(?:.*[-_])?step=(\d{1,15})\.ckpt"),
        is_whole=_is_whole_of_lightning,
        is_of=Path.exists,
    ),
    Layout(
        kind="prime-rl",
        name=re.compile(r"step_(\d{1,15})"),
        is_whole=_has("trainer/.metadata"),
        is_of=lambda folder: (folder / "trainer").is_dir(),
    ),
    Layout(kind="dcp", name=re.compile(r"step[-_](\d{1,15})"), is_whole=_has(".metadata")),
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found out about one step."""

    step: int
    outcome: str
    """`committed`, `lost` or `refused`."""
    reason: str = ""


@dataclass
class Watcher:
    """Looks at one folder again and again, and holds what it saw last. Raises `ConfigurationError` for no folder."""

    store: CheckpointStore
    folder: Path
    model: ModelRef
    _stamps: dict[Path, Stamp] = field(default_factory=dict[Path, Stamp], init=False)
    _done: set[int] = field(default_factory=set[int], init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ConfigurationError(
                f"{self.folder} is no folder; name the one that the trainer writes its checkpoints in."
            )
        self._done.update(self.store.steps(self.model))

    @property
    def pending(self) -> list[int]:
        """The steps that were seen and are not whole yet."""
        return sorted(self._seen_steps().values())

    def look(self) -> list[Seen]:
        """Commit what is whole and has not changed since the look before; gives what became of each step, in order."""
        there = self._folders()
        gone = [(step, path) for path, step in self._seen_steps().items() if path not in there]
        gone = [(step, path) for step, path in gone if step not in self._done]
        for _, path in gone:
            del self._stamps[path]
        events = [
            Seen(step=step, outcome="lost", reason=f"{path} went away before it was whole") for step, path in gone
        ]
        for path, (step, layout) in sorted(there.items(), key=lambda item: item[1][0]):
            stamp = _stamp(path)
            if stamp and stamp == self._stamps.get(path) and layout.is_whole(path):
                events.append(self._take(path, step, layout))
            else:
                self._stamps[path] = stamp
        return sorted(events, key=lambda event: event.step)

    def _seen_steps(self) -> dict[Path, int]:
        return {path: step for path in self._stamps if (step := _step_of(path)) is not None}

    def _folders(self) -> dict[Path, tuple[int, Layout]]:
        found: dict[Path, tuple[int, Layout]] = {}
        for path in self.folder.iterdir():
            layout = _layout_of(path)
            step = _step_of(path)
            if layout and step is not None and step not in self._done and not path.is_symlink():
                found[path] = (step, layout)
        return found

    def _take(self, path: Path, step: int, layout: Layout) -> Seen:
        self._stamps.pop(path, None)
        self._done.add(step)
        try:
            newest = self.store.newest(self.model)
            log, problem = _log_of(path)
            lines = trainer_log.between(log, newest.ref.step if newest else 0, step)
            metrics = trainer_log.metrics_of(lines)
            if path.is_file():
                commit_file(self.store, path, self.model.at(step), kind=layout.kind)
            else:
                commit_folder(self.store, path, self.model.at(step), kind=layout.kind, metrics=metrics)
        except ArtError as error:
            return Seen(step=step, outcome="refused", reason=str(error))
        try:
            trainer_log.record(History(self.store.root), self.model, lines)
        except ArtError as error:
            problem = f"its metrics were not written down: {error}"
        return Seen(step=step, outcome="committed", reason=problem)


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Give the whole checkpoints of known trainers in a folder, by their steps."""
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        layout = _layout_of(path)
        step = _step_of(path)
        if layout and step is not None and layout.is_whole(path):
            found[step] = path
    return found


def _log_of(folder: Path) -> tuple[list[trainer_log.Line], str]:
    """Give what was logged, and why it cannot be read: a loss that is no number is no reason to lose a checkpoint."""
    try:
        return trainer_log.read_log(folder), ""
    except ArtError as error:
        return [], f"without metrics, its log cannot be read: {error}"


def _layout_of(path: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.name.fullmatch(path.name) and layout.is_of(path)), None)


def _step_of(path: Path) -> int | None:
    """Read the step out of a name, of a checkpoint that may be gone."""
    matches = (layout.name.fullmatch(path.name) for layout in LAYOUTS)
    return next((int(match[1]) for match in matches if match), None)


def _stamp(folder: Path) -> Stamp:
    stamps: dict[str, tuple[int, int]] = {}
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            status = path.lstat()
            stamps[str(path)] = (status.st_size, status.st_mtime_ns)
    return stamps
