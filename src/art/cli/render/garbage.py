"""What `art gc` prints: the debris, what deleting it frees, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from art.cli.render import wording
from art.ops.garbage import Garbage


def lines(garbage: Garbage, *, root: Path | None, dry_run: bool) -> Iterator[Text]:
    """Yield a line for each folder, the sum, and what is left alone."""
    for folder in garbage.debris:
        yield Text(f"{wording.size(folder.freed_bytes):>10}  {_shown(folder.path, root)}")
    if garbage.debris:
        verb, frees = ("Would delete", "frees") if dry_run else ("Deleted", "freed")
        folders = wording.count(len(garbage.debris), "folder")
        yield Text(f"{verb} {folders}, which {frees} {wording.size(garbage.freed_bytes)}.")
    else:
        yield Text("Nothing to delete.")
    for folder in garbage.unknown:
        where = _shown(folder.path, root)
        yield Text(f"Left alone: {where}, which is no checkpoint, but not debris of artfork's either.")
    for model, problem in garbage.problems.items():
        yield Text(f"Left alone: {model}, which cannot be listed: {problem}", "red")


def document(garbage: Garbage, *, dry_run: bool) -> dict[str, Any]:
    """Give the same as one document."""
    return {
        "dry_run": dry_run,
        "freed_bytes": garbage.freed_bytes,
        "debris": [{"path": str(folder.path), "freed_bytes": folder.freed_bytes} for folder in garbage.debris],
        "left_alone": [{"ref": str(folder.ref), "path": str(folder.path)} for folder in garbage.unknown],
        "problems": [{"model": str(model), "problem": problem} for model, problem in garbage.problems.items()],
    }


def _shown(path: Path | str, root: Path | None) -> Path | str:
    return path.relative_to(root) if isinstance(path, Path) and root else path
