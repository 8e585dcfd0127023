"""What lies in a root and nobody misses: debris, unknown folders, and what deleting something truly frees."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from art.errors import ArtError
from art.names import CheckpointRef, ModelRef
from art.store import staging
from art.store.extents import held_elsewhere_bytes, shared_ranges
from art.store.listing import statuses_below
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from art.remote.remote import Remote
    from art.remote.shelf import Broken

BLOCK_BYTES = 512
"""The unit of `st_blocks`, whatever the file system's own is."""
T = TypeVar("T")


@dataclass(frozen=True)
class DebrisFolder:
    """A folder that unfinished work of ours left."""

    path: Path | str
    """Text for a folder in a bucket: its URL."""
    freed_bytes: int
    """What the disk gets back with it: nothing for a file that lies somewhere else too."""


@dataclass(frozen=True)
class UnknownFolder:
    """A step's folder that is no checkpoint, and nothing of ours: left alone."""

    ref: CheckpointRef
    path: Path


@dataclass(frozen=True)
class Garbage:
    """What a clean-up deletes, or has deleted, and what it leaves alone."""

    debris: tuple[DebrisFolder, ...]
    unknown: tuple[UnknownFolder, ...]
    problems: Mapping[ModelRef, str]
    """Models that cannot be listed, and why: nothing of theirs is touched."""

    @property
    def freed_bytes(self) -> int:
        return sum(folder.freed_bytes for folder in self.debris)


def find_garbage(store: CheckpointStore | Remote) -> Garbage:
    """List what a clean-up would delete; changes nothing. In a bucket that is what broken rewinds left a day ago."""
    if not isinstance(store, CheckpointStore):
        return _broken_rewinds(store, store.broken_asides)
    # Listed before the models settle: what a journal names is then moved away, and not deleted.
    abandoned = store.abandoned()
    torn, problems = _each_model(store, store.torn)
    unknown, _ = _each_model(store, store.unknown)
    debris = [*(path for paths in torn.values() for path in paths), *filter(Path.exists, abandoned)]
    sizes = freed_bytes(debris, root=store.root)
    return Garbage(
        debris=tuple(DebrisFolder(path, size_bytes) for path, size_bytes in sizes.items()),
        unknown=tuple(
            UnknownFolder(model.at(step), path) for model, paths in unknown.items() for step, path in paths.items()
        ),
        problems=problems,
    )


def collect_garbage(store: CheckpointStore | Remote) -> Garbage:
    """Delete the debris that `find_garbage` lists; gives what was deleted."""
    if not isinstance(store, CheckpointStore):
        return _broken_rewinds(store, store.sweep)
    abandoned, listed = store.abandoned(), find_garbage(store)
    swept, problems = _each_model(store, store.sweep)
    deleted = {path for paths in swept.values() for path in paths}
    deleted |= {folder for folder in abandoned if staging.remove_abandoned(folder)}
    debris = tuple(folder for folder in listed.debris if folder.path in deleted)
    return Garbage(debris, listed.unknown, {**listed.problems, **problems})


def _broken_rewinds(remote: Remote, ask: Callable[[ModelRef], list[Broken]]) -> Garbage:
    rewinds, problems = _each_model(remote, ask)
    debris = (DebrisFolder(each.url, each.size_bytes) for broken in rewinds.values() for each in broken)
    return Garbage(debris=tuple(debris), unknown=(), problems=problems)


def freed_bytes(folders: Iterable[Path], *, root: Path) -> dict[Path, int]:
    """Tell what the disk gets back when folders below a root are deleted together.

    A file with a link elsewhere gives nothing, and neither does what a clone elsewhere has in common with one.
    """
    files = {folder: list(statuses_below(folder)) for folder in folders}
    links = Counter(_identity(status) for each in files.values() for _, status in each)
    going: dict[tuple[int, int], tuple[Path, Path]] = {}
    freed = dict.fromkeys(files, 0)
    for folder, each in files.items():
        for path, status in each:
            if _identity(status) not in going and links[_identity(status)] >= status.st_nlink:
                going[_identity(status)] = (folder, path)
                freed[folder] += status.st_blocks * BLOCK_BYTES
    kept = _kept_by_clones(going, root)
    return {folder: max(0, size_bytes - kept.get(folder, 0)) for folder, size_bytes in freed.items()}


def _kept_by_clones(going: Mapping[tuple[int, int], tuple[Path, Path]], root: Path) -> Mapping[Path, int]:
    held = [(folder, each) for folder, path in going.values() for each in shared_ranges(path)]
    if not held:
        return {}
    staying = (
        path for path, status in statuses_below(root) if stat.S_ISREG(status.st_mode) and _identity(status) not in going
    )
    return held_elsewhere_bytes(held, (each for path in staying for each in shared_ranges(path)))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _each_model(
    store: CheckpointStore | Remote, ask: Callable[[ModelRef], T]
) -> tuple[dict[ModelRef, T], dict[ModelRef, str]]:
    """Ask about every model; one that cannot be listed is a problem, and the others are answered."""
    answers: dict[ModelRef, T] = {}
    problems: dict[ModelRef, str] = {}
    for model in store.models():
        try:
            answers[model] = ask(model)
        except ArtError as error:
            problems[model] = str(error)
    return answers, problems
