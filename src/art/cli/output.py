"""Data to stdout, words to stderr. Knows terminals; knows nothing of checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.text import Text


def words() -> Console:
    """Open stderr, for everything that is said and not asked for."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_lines(lines: Iterable[Text | str]) -> None:
    """Print line by line: cut to the width of a terminal, whole into a pipe or a file."""
    from rich.console import Console

    console = Console(highlight=False)
    for line in lines:
        if console.is_terminal:
            console.print(line, no_wrap=True, overflow="ellipsis", markup=False)
        else:
            console.print(line, soft_wrap=True, markup=False)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def byte_progress(what: str, total_bytes: int) -> Generator[Callable[[int], None]]:
    """Show a bar of bytes on stderr while it is a terminal; yields what to call with each number of bytes done."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = words()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=total_bytes)
        yield lambda done_bytes: progress.advance(task, done_bytes)
