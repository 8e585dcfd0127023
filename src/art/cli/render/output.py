"""Data to stdout, words to stderr. Knows terminals; knows nothing of checkpoints.

Every text passes `visible` here, on its way out: what a manifest, a name or an error holds acts on no terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from art.visible import is_seen, visible, written_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.text import Text

SCHEMA = 1
"""Grows when a field of a document goes or means something else; fields may be added."""
UNUSUAL = re.compile(r"[^\n -~]")


def words() -> Console:
    """Open stderr, for everything that is said and not asked for."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def whole(text: str, style: str = "") -> Text:
    """Make a line that no terminal cuts, such as a command that is copied."""
    from rich.text import Text

    return Text(text, style, overflow="fold")


def print_lines(lines: Iterable[Text | str]) -> None:
    """Print line by line: cut to the width of a terminal unless it is `whole`, and whole into a pipe or a file."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    for line in map(visible_text, lines):
        if console.is_terminal and (isinstance(line, str) or line.overflow != "fold"):
            console.print(line, no_wrap=True, overflow="ellipsis", markup=False)
        else:
            console.print(line, soft_wrap=True, markup=False)


def say(text: str, *, style: str = "") -> None:
    """Print one line on stderr."""
    words().print(visible(text), style=style, markup=False, soft_wrap=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document; characters that are not seen are written as JSON's own escapes."""
    text = json.dumps({"schema": SCHEMA, **document}, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(UNUSUAL.sub(_as_json, text) + "\n")


@contextmanager
def byte_bar(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar on stderr while that is a terminal; yields what to tell the bytes done so far, and of how many."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = words()
    what_column = TextColumn("{task.description}", markup=False)
    columns = (what_column, BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(visible(what), total=None)
        yield lambda done_bytes, total_bytes: bar.update(task, completed=done_bytes, total=total_bytes)


@contextmanager
def working(what: str) -> Generator[None]:
    """Say on stderr, while that is a terminal, what takes so long."""
    from rich.text import Text

    console = words()
    if not console.is_terminal:
        yield
        return
    with console.status(Text(visible(what))):
        yield


def visible_text(line: Text | str) -> Text | str:
    """Give a line in which nothing acts on a terminal."""
    from rich.text import Text

    if isinstance(line, str):
        return visible(line)
    if line.plain.isprintable():
        return line
    shown = line.blank_copy()
    for character in line.divide(range(1, len(line))):
        shown.append_text(character if is_seen(character.plain) else Text(written_out(character.plain), "reverse"))
    return shown


def _as_json(match: re.Match[str]) -> str:
    return match[0] if is_seen(match[0]) else json.dumps(match[0])[1:-1]
