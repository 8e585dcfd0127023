"""The folders and files of trackers that write some: no link leads out of the folder that a tracker was given.

A root may come from a stranger, with what trackers wrote into it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from art.errors import TrackerError

_APPENDING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def plain(above: Path, *names: str) -> Path:
    """Give a folder below another; raises `TrackerError` where a link stands on the way there."""
    folder = above
    for name in names:
        folder = folder / name
        if folder.is_symlink():
            raise TrackerError(f"{folder} is a symbolic link; a tracker's files lie behind none. Remove it.")
    return folder


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Raise a `TrackerError` that names a path for what the operating system refuses there."""
    try:
        yield
    except TrackerError:
        raise
    except OSError as error:
        raise TrackerError(f"{path} cannot be written: {error}.") from error


@contextmanager
def opened_to_append(path: Path) -> Generator[BinaryIO]:
    """Open a regular file to read it and to write behind its end; raises `TrackerError` for a link, or a pipe."""
    with writing(path), open(os.open(path, _APPENDING, 0o666), "a+b") as file:  # noqa: PTH123 - a handle
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise TrackerError(f"{path} is no regular file. Remove it.")
        yield file
