"""A folder in which an unmodified script leaves its checkpoints: each is committed once it is whole.

A trainer writes a checkpoint file by file, and rotates old ones away. One is taken when the file that its trainer
writes last is there, and nothing in it has changed since the look before; later ones wait for an earlier one that is
still being written. What went away too early is told, and so is a second run that writes over the steps of the first.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from art.errors import ArtError, CheckpointExistsError, ConfigurationError, ConflictError, StorageError
from art.names import ModelRef
from art.ops import trainer_log
from art.ops.folders import Committed, commit_file, commit_folder
from art.store import regular
from art.store.store import CheckpointStore

MAX_NOTE_BYTES = 64
_RANDOM = re.compile(r"(?:rng_state|random_states)_(\d{1,9})\.(?:pth|pkl)")
_SHARD = re.compile(r"__(\d{1,9})_\d{1,9}\.distcp")
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


def _is_whole_of_the_trainer(folder: Path) -> bool:
    """Tell whether what rank 0 writes last is whole, and no rank's random state is missing before another's."""
    try:
        content = regular.find(folder / trainer_log.STATE, max_bytes=trainer_log.MAX_STATE_BYTES)
        # Not `parse`: a loss that is no number is no reason to take a checkpoint for half written.
        is_written = content is not None and isinstance(json.loads(content), dict)
    except (ArtError, ValueError, RecursionError):
        return False
    ranks = _ranks(_RANDOM, folder.iterdir())
    return is_written and ranks == set(range(len(ranks)))


def _is_whole_of_accelerate(folder: Path) -> bool:
    """Tell whether every rank has written its random state, which it does last; a rank with shards has one."""
    ranks = _ranks(_RANDOM, folder.iterdir())
    return 0 in ranks and ranks == set(range(len(ranks))) and _ranks(_SHARD, folder.glob("*/*")) <= ranks


def _ranks(name: re.Pattern[str], paths: Iterable[Path]) -> set[int]:
    return {int(match[1]) for path in paths if (match := name.fullmatch(path.name))}


def _is_whole_of_lightning(path: Path) -> bool:
    """Tell whether a checkpoint is whole: Lightning renames a file into place, and ends a folder with `meta.pt`."""
    return path.is_file() or (path / "meta.pt").exists()


LAYOUTS = (
    Layout(kind="hf-trainer", name=re.compile(r"checkpoint-([0-9]{1,15})"), is_whole=_is_whole_of_the_trainer),
    Layout(kind="accelerate", name=re.compile(r"checkpoint_([0-9]{1,15})"), is_whole=_is_whole_of_accelerate),
    Layout(kind="verl", name=re.compile(r"global_step_([0-9]{1,15})"), is_whole=_is_latest),
    Layout(
        kind="lightning",
        name=re.compile(r"(?:.*[-_])?step=([0-9]{1,15})\.ckpt"),
        is_whole=_is_whole_of_lightning,
        is_of=Path.exists,
    ),
    Layout(
        kind="prime-rl",
        name=re.compile(r"step_([0-9]{1,15})"),
        is_whole=_has("trainer/.metadata"),
        is_of=lambda folder: (folder / "trainer").is_dir(),
    ),
    Layout(kind="dcp", name=re.compile(r"step[-_]([0-9]{1,15})"), is_whole=_has(".metadata")),
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found out about one step."""

    step: int
    outcome: str
    """`committed`, `lost` or `refused`; what the disk refused is tried again."""
    reason: str = ""


@dataclass
class Watcher:
    """Looks at one folder again and again, and holds what it saw last. Raises `ConfigurationError` for no folder."""

    store: CheckpointStore
    folder: Path
    model: ModelRef
    _stamps: dict[Path, Stamp] = field(default_factory=dict[Path, Stamp], init=False)
    """Of what is not dealt with, as the last look saw it."""
    _dealt: dict[Path, Stamp] = field(default_factory=dict[Path, Stamp], init=False)
    _told: dict[Path, int | None] = field(default_factory=dict[Path, "int | None"], init=False)
    """The number of what the disk refused, so that it is told once."""
    _gone: list[int] = field(default_factory=list[int], init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ConfigurationError(
                f"{self.folder} is no folder; name the one that the trainer writes its checkpoints in."
            )
        since = self._gone_since()
        for path, (step, _) in self._folders().items():
            checkpoint = self.store.find(self.model.at(step))
            stamp, told_at = _stamp(path), checkpoint.manifest.created_at if checkpoint else since(step)
            if told_at and not _is_newer(stamp, told_at):
                self._dealt[path] = stamp
                self._gone += [] if checkpoint else [step]

    @property
    def gone(self) -> list[int]:
        """The steps that lie in the folder, and that the store had let go, or gone beyond, before the first look."""
        return sorted(self._gone)

    @property
    def pending(self) -> list[int]:
        """The steps that were seen and are not whole yet."""
        return sorted(self._seen_steps().values())

    def below(self) -> list[Path]:
        """Find the folders below that have checkpoints, where this one has none: it is probably another's parent."""
        if self._folders():
            return []
        deeper = (path for pattern in ("*/*", "*/*/*", "*/*/*/*") for path in self.folder.glob(pattern))
        return sorted({path.parent for path in deeper if _layout_of(path) and _layout_of(path.parent) is None})

    def look(self) -> list[Seen]:
        """Commit what is whole and has not changed since the look before; gives what became of each step, in order."""
        folders, kept = self._folders(), set(self.store.steps(self.model))
        gone = [(step, path) for path, step in self._seen_steps().items() if path not in folders]
        for _, path in gone:
            del self._stamps[path]
        events = [
            Seen(step=step, outcome="lost", reason=f"{path} went away before it was whole")
            for step, path in gone
            if step not in kept
        ]
        is_written = False
        for path, (step, layout) in sorted(folders.items(), key=lambda item: item[1][0]):
            stamp = _stamp(path)
            if path in self._dealt and not _has_more(stamp, self._dealt[path]):
                continue
            if stamp != self._stamps.get(path):
                self._stamps[path] = stamp
                is_written = True
            elif stamp and not is_written and layout.is_whole(path) and (event := self._take(path, step, layout)):
                events.append(event)
        return sorted(events, key=lambda event: event.step)

    def _gone_since(self) -> Callable[[int], str | None]:
        """Give since when a step that the store has not is gone: retention deleted it, or a rewind set it aside."""
        newest = self.store.newest(self.model)
        if newest is None:
            return lambda step: None
        aside = {step: each.time for each in self.store.set_aside(self.model) for step in each.steps}
        return lambda step: newest.manifest.created_at if step < newest.ref.step else aside.get(step)

    def _seen_steps(self) -> dict[Path, int]:
        return {path: step for path in self._stamps if (step := _step_of(path)) is not None}

    def _folders(self) -> dict[Path, tuple[int, Layout]]:
        folders: dict[Path, tuple[int, Layout]] = {}
        for path in self.folder.iterdir():
            layout = _layout_of(path)
            step = _step_of(path)
            if layout and step is not None and not path.is_symlink():
                folders[path] = (step, layout)
        return folders

    def _take(self, path: Path, step: int, layout: Layout) -> Seen | None:
        """Commit a checkpoint; None for one that is in the store already, or that has to be looked at again."""
        try:
            committed = self._commit(path, step, layout)
        except ConflictError as error:
            if isinstance(error, CheckpointExistsError):
                return self._settle(path, Seen(step=step, outcome="refused", reason=str(error)))
            # It changed, or a part of it went away: the next looks tell which.
            self._stamps[path] = {}
            return None
        except StorageError as error:
            is_told = self._told.get(path) == error.errno
            self._told[path] = error.errno
            return None if is_told else Seen(step=step, outcome="refused", reason=str(error))
        except ArtError as error:
            return self._settle(path, Seen(step=step, outcome="refused", reason=str(error)))
        event = self._settle(path, Seen(step=step, outcome="committed", reason=committed.problem))
        return None if committed.repeated else event

    def _settle(self, path: Path, event: Seen) -> Seen:
        self._dealt[path] = self._stamps.pop(path)
        self._told.pop(path, None)
        return event

    def _commit(self, path: Path, step: int, layout: Layout) -> Committed:
        commit = commit_file if path.is_file() else commit_folder
        return commit(self.store, path, self.model.at(step), kind=layout.kind)


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Give the whole checkpoints of known trainers in a folder, by their steps."""
    folders: dict[int, Path] = {}
    for path in folder.iterdir():
        layout = _layout_of(path)
        step = _step_of(path)
        if layout and step is not None and layout.is_whole(path):
            folders[step] = path
    return folders


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
            # A folder's time changes with what is rotated away from it, too.
            is_folder = stat.S_ISDIR(status.st_mode)
            stamps[str(path)] = (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
    return stamps


def _has_more(stamp: Stamp, before: Stamp) -> bool:
    """Tell whether something was written since; what only went away was rotated."""
    return not stamp.items() <= before.items()


def _is_newer(stamp: Stamp, committed: str) -> bool:
    """Tell whether something was written after a commit."""
    return max(at for _, at in stamp.values()) > datetime.fromisoformat(committed).timestamp() * 1e9
