"""What each branch keeps on the disk: bytes that several checkpoints share, by hard link or as clones, count once."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from art.format import layout
from art.names import ModelRef
from art.ops.garbage import BLOCK_BYTES
from art.ops.tree import TreeBranch
from art.store.extents import held_before_bytes, shared_ranges
from art.store.listing import statuses_below
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
    branches, seen = list(branches), set[tuple[int, int]]()
    files = {
        (branch.model, name): list(_new_files(store.root / layout.model_path(branch.model) / name, seen))
        for branch in branches
        for name in (layout.CHECKPOINTS, layout.SET_ASIDE)
    }
    held = held_before_bytes(
        (part, each) for part, among in files.items() for path, _ in among for each in shared_ranges(path)
    )
    size_bytes = {part: max(0, sum(size for _, size in among) - held.get(part, 0)) for part, among in files.items()}
    return [
        BranchUse(
            model=branch.model,
            checkpoints=len(branch.steps),
            kept_bytes=size_bytes[branch.model, layout.CHECKPOINTS],
            aside_bytes=size_bytes[branch.model, layout.SET_ASIDE],
        )
        for branch in branches
    ]


def _new_files(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, int]]:
    """Yield the files that were not seen at another place, and what their blocks take."""
    if folder.is_symlink():
        return
    for path, status in statuses_below(folder):
        if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path, status.st_blocks * BLOCK_BYTES
