"""What `art rm` prints: what is deleted, what is kept, and what that frees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from art.cli.render import wording
from art.names import CheckpointRef
from art.ops.removal import Removal


def names(refs: Sequence[CheckpointRef]) -> str:
    """Name checkpoints, the steps of one model together."""
    by_model = groupby(refs, key=lambda ref: ref.model)
    return ", ".join(f"{model}@{_steps([ref.step for ref in members])}" for model, members in by_model)


def lines(removal: Removal, deleted: Sequence[CheckpointRef], *, dry_run: bool) -> Iterator[str]:
    """Yield what was deleted, or would be, and what was named and is kept."""
    verb, frees = ("Would delete", "frees") if dry_run else ("Deleted", "freed")
    if not deleted:
        yield "Nothing to delete." if not removal.refs else "Nothing was deleted."
    else:
        count = wording.count(len(deleted), "checkpoint")
        size = f", which {frees} {wording.size(removal.freed_bytes)}" if len(deleted) == len(removal.refs) else ""
        yield f"{verb} {names(deleted)} ({count}){size}."
    if removal.kept:
        yield f"Kept {names(removal.kept)}."


def document(removal: Removal, deleted: Sequence[CheckpointRef], *, dry_run: bool) -> dict[str, Any]:
    """Give the same as one document."""
    return {
        "dry_run": dry_run,
        "deleted": [str(ref) for ref in deleted],
        "kept": [str(ref) for ref in removal.kept],
        "freed_bytes": removal.freed_bytes if len(deleted) == len(removal.refs) else None,
    }


def _steps(steps: Sequence[int]) -> str:
    """Name steps: each run of steps that follow one another by its ends."""
    runs: list[list[int]] = []
    for step in steps:
        if runs and step == runs[-1][-1] + 1:
            runs[-1].append(step)
        else:
            runs.append([step])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)
