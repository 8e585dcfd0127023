"""Folders in which something is written before it gets its place. What nobody holds any more is abandoned.

Publishing is the disk's; knows nothing of models, steps or manifests.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from art.store import disk
from art.store.locks import claimed, locked
from art.store.refusal import explained


@contextmanager
def new_staging(above: Path, *, is_needed: Callable[[], bool] = lambda: False) -> Generator[Path]:
    """Make a folder of one's own below another, and hold it: until this ends, nobody takes it for abandoned.

    What has not been moved away by then is deleted, unless it is needed: by moves that were begun and not finished.
    """
    with explained("write in", above):
        disk.make_folders(above.parent)
        if above.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        # Nothing is lost when a power failure takes it.
        folder = above / os.urandom(16).hex()
        disk.make_fleeting_folders(folder)
    with locked(folder, make=disk.make_fleeting_folders):
        try:
            yield folder
        finally:
            if _may_go(folder, is_needed):
                _remove(folder)


def remove_abandoned(folder: Path) -> bool:
    """Delete a staging folder that nobody holds any more; False when somebody does or it is gone."""
    with claimed(folder) as abandoned:
        if abandoned:
            _remove(folder)
    return abandoned


def is_abandoned(folder: Path) -> bool:
    """Tell whether nobody holds a staging folder any more."""
    with claimed(folder) as abandoned:
        return abandoned


def put_file(path: Path, content: bytes, above: Path) -> None:
    """Write a small file as a whole or not at all, over one that is there; makes the folder it lies in."""
    with explained("write in", path.parent):
        disk.make_folders(path.parent)
    with new_staging(above) as fresh:
        disk.write_file(fresh / path.name, content)
        disk.finish(fresh)
        disk.take_place(fresh / path.name, path)


def _remove(folder: Path) -> None:
    """Delete a folder that no reader can see, and the staging folder above it once that is empty."""
    with suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.rmdir()


def _may_go(folder: Path, is_needed: Callable[[], bool]) -> bool:
    try:
        return not (folder.exists() and is_needed())
    except OSError:
        # A disk that does not say so may have moves that were begun.
        return False
