"""What each branch keeps on the disk: files that several checkpoints share by hard link count once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from art.format import layout
from art.names import ModelRef
from art.ops.garbage import BLOCK_BYTES
from art.ops.tree import TreeBranch
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class BranchUse:
    """What one branch keeps."""

    model: ModelRef
    checkpoints: int
    kept_bytes: int
    """The blocks of its checkpoints, without those that an earlier branch of the list has too."""
    aside_bytes: int
    """Of what rewinds set aside."""


def read_disk_use(store: CheckpointStore, branches: Iterable[TreeBranch]) -> list[BranchUse]:
    """Measure branches in their order."""
    seen: set[tuple[int, int]] = set()
    uses: list[BranchUse] = []
    for branch in branches:
        folder = store.root / layout.model_path(branch.model)
        kept, aside = (_new_bytes(folder / name, seen) for name in (layout.CHECKPOINTS, layout.SET_ASIDE))
        uses.append(BranchUse(model=branch.model, checkpoints=len(branch.steps), kept_bytes=kept, aside_bytes=aside))
    return uses


def _new_bytes(folder: Path, seen: set[tuple[int, int]]) -> int:
    total = 0
    for entry in _files(folder):
        status = entry.stat(follow_symlinks=False)
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * BLOCK_BYTES
    return total


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir() or folder.is_symlink():
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield entry
