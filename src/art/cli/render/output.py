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

    return Console(stderr=True, highlight=False, emoji=False)


def print_lines(lines: Iterable[Text | str]) -> None:
    """Print line by line: cut to the width of a terminal, whole into a pipe or a file."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    for line in lines:
        if console.is_terminal:
            console.print(line, no_wrap=True, overflow="ellipsis", markup=False)
        else:
            console.print(line, soft_wrap=True, markup=False)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def byte_bar(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar on stderr while that is a terminal; yields what to tell the bytes done so far, and of how many."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = words()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done_bytes, total_bytes: bar.update(task, completed=done_bytes, total=total_bytes)


@contextmanager
def working(what: str) -> Generator[None]:
    """Say on stderr, while that is a terminal, what takes so long."""
    console = words()
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
