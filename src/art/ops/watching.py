"""A folder in which an unmodified script leaves its checkpoints: each is committed once it is whole.

A trainer writes a checkpoint file by file, and rotates old ones away. One is taken when the file that its trainer
writes last is there, and nothing in it has changed since the look before; later ones wait for an earlier one that is
still being written. What went away too early is told. So is a second run in the same folder, which is recognised by
what it writes over or by its log: none of its steps becomes a child of the first run's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from art.errors import ArtError, CheckpointExistsError, ConfigurationError, ConflictError, StorageError
from art.format.fields import MAX_DEPTH
from art.format.manifest import FileEntry
from art.names import ModelRef
from art.ops import trainer_log
from art.ops.folders import Committed, commit_file, commit_folder, finish_newest
from art.ops.saved import Layout, is_whole, layout_of, saved_in, step_of
from art.store import disk
from art.store.store import CheckpointStore

Stamp = Mapping[str, tuple[int, int]]
"""The sizes and times of a checkpoint and of what is in it, by their paths."""


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
    _other_run: int | None = field(default=None, init=False)
    """The first step that another run has written; its later ones are no steps of this model either."""
    _looks: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ConfigurationError(
                f"{self.folder} is no folder; name the one that the trainer writes its checkpoints in."
            )
        since = self._gone_since()
        for path, (step, _) in self._folders().items():
            checkpoint = self.store.find(self.model.at(step))
            stamp, told_at = _stamp(path), checkpoint.description.created_at if checkpoint else since(step)
            if told_at and not _is_newer(stamp, told_at):
                self._dealt[path] = stamp
                self._gone += [] if checkpoint else [step]
        finish_newest(self.store, self.model)

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
        walked = [*_walked(self.folder, depth=3)][1:]
        deeper = (Path(above, name) for above, names in walked for name in names)
        return sorted({path.parent for path in deeper if layout_of(path) and layout_of(path.parent) is None})

    def look(self) -> list[Seen]:
        """Commit what is whole and has not changed since the look before; gives what became of each step, in order."""
        folders, kept = self._folders(), set(self.store.steps(self.model))
        self._looks += 1
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
                if self._is_of_another_run(path, step, kept):
                    self._note_other_run(step)
                self._stamps[path] = stamp
                is_written = True
            elif stamp and not is_written and is_whole(path, layout) and (event := self._take(path, step, layout)):
                events.append(event)
        return sorted(events, key=lambda event: event.step)

    def _gone_since(self) -> Callable[[int], str | None]:
        """Give since when a step that the store has not is gone: retention deleted it, or a rewind set it aside."""
        newest = self.store.newest(self.model)
        if newest is None:
            return lambda step: None
        aside = {step: each.time for each in self.store.set_aside(self.model) for step in each.steps}
        return lambda step: newest.description.created_at if step < newest.ref.step else aside.get(step)

    def _seen_steps(self) -> dict[Path, int]:
        return {path: step for path in self._stamps if (step := step_of(path)) is not None}

    def _folders(self) -> dict[Path, tuple[int, Layout]]:
        return {path: saved for path, saved in saved_in(self.folder).items() if not path.is_symlink()}

    def _is_of_another_run(self, path: Path, step: int, kept: Collection[int]) -> bool:
        """Tell whether a checkpoint that was begun just now lies behind what its run had reached already."""
        is_new = self._looks > 1 and path not in self._stamps and path not in self._dealt
        return is_new and step not in kept and step < max(kept, default=0)

    def _note_other_run(self, step: int) -> None:
        self._other_run = step if self._other_run is None else min(step, self._other_run)

    def _check_same_run(self, path: Path, step: int) -> None:
        """Check that a checkpoint continues the model's newest; raises `CheckpointExistsError` for another run's."""
        newest = self.store.newest(self.model)
        if newest is None or newest.ref.step >= step:
            return
        if self._other_run is not None and self._other_run <= newest.ref.step:
            why = f"another run has written step {self._other_run} in this folder"
        elif not trainer_log.continues(path, newest):
            why = f"its log does not begin with that of {newest.ref}"
        else:
            return
        raise CheckpointExistsError(
            f"{path} is no step of {self.model}: {why}. Watch a folder of each run for a model of its own; "
            f"`art commit {path} {self.model.at(step)}` takes it all the same."
        )

    def _take(self, path: Path, step: int, layout: Layout) -> Seen | None:
        """Commit a checkpoint; None for one that is in the store already, or that has to be looked at again."""
        try:
            committed = self._commit(path, step, layout)
        except ArtError as error:
            return self._refused(path, step, error)
        event = self._settle(path, Seen(step=step, outcome="committed", reason=committed.problem))
        return None if committed.repeated else event

    def _refused(self, path: Path, step: int, error: ArtError) -> Seen | None:
        event = Seen(step=step, outcome="refused", reason=str(error))
        is_taken = isinstance(error, CheckpointExistsError)
        if _stamp(path) != self._stamps[path] or (isinstance(error, ConflictError) and not is_taken):
            # It is written to, or rotated away: the next looks tell which.
            self._stamps[path] = {}
            return None
        if isinstance(error, StorageError):
            is_told = self._told.get(path) == error.errno
            self._told[path] = error.errno
            return None if is_told else event
        if self._is_written_over(path, step):
            self._note_other_run(step)
        return self._settle(path, event)

    def _settle(self, path: Path, event: Seen) -> Seen:
        self._dealt[path] = self._stamps.pop(path)
        self._told.pop(path, None)
        return event

    def _commit(self, path: Path, step: int, layout: Layout) -> Committed:
        self._check_same_run(path, step)
        commit = commit_file if path.is_file() else commit_folder
        return commit(self.store, path, self.model.at(step), kind=layout.kind)

    def _is_written_over(self, path: Path, step: int) -> bool:
        """Tell whether a file that was committed has other bytes now; one that was added beside it says nothing."""
        checkpoint = self.store.find(self.model.at(step))
        folder = path.parent if path.is_file() else path
        return checkpoint is not None and any(_has_other_bytes(folder, entry) for entry in checkpoint.manifest.files)


def _has_other_bytes(folder: Path, entry: FileEntry) -> bool:
    path = folder / entry.path
    with suppress(FileNotFoundError):
        return path.stat().st_size != entry.size_bytes or disk.digest(path) != entry.blake3
    return False


def _stamp(folder: Path) -> Stamp:
    stamps: dict[str, tuple[int, int]] = {}
    below = (Path(above, name) for above, names in _walked(folder) for name in names)
    for path in (folder, *below):
        with suppress(FileNotFoundError):
            status = path.lstat()
            # A folder's time changes with what is rotated away from it, too.
            is_folder = stat.S_ISDIR(status.st_mode)
            stamps[str(path)] = (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
    return stamps


def _walked(folder: Path, *, depth: int = MAX_DEPTH) -> Iterator[tuple[str, list[str]]]:
    """Yield folders and the names in them, from the top; passes over what is rotated away meanwhile, unlike `glob`."""
    for above, folders, files in os.walk(folder):
        yield above, [*folders, *files]
        if len(Path(above).relative_to(folder).parts) >= depth:
            folders.clear()


def _has_more(stamp: Stamp, before: Stamp) -> bool:
    """Tell whether something was written since; what only went away was rotated."""
    return not stamp.items() <= before.items()


def _is_newer(stamp: Stamp, committed: str) -> bool:
    """Tell whether something was written after a commit."""
    return max((at for _, at in stamp.values()), default=0) > datetime.fromisoformat(committed).timestamp() * 1e9
