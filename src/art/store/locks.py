"""Locks on folders, which the kernel drops when their process dies. Makes, moves and writes nothing itself.

A file system without locks is used without: what must not happen twice is a rename that never replaces.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from art.store.refusal import explained

_CANNOT_LOCK = {errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(folder: Path, *, make: Callable[[Path], None]) -> Generator[None]:
    """Hold the only lock on a folder, which `make` makes, and makes again when it was removed meanwhile."""
    handle = _lock(folder, make)
    try:
        yield
    finally:
        _unlock(handle)


def _lock(folder: Path, make: Callable[[Path], None]) -> int:
    while True:
        with explained("write in", folder):
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                make(folder)
                continue
            if flock(handle, fcntl.LOCK_EX) and not _is_at(handle, folder):
                os.close(handle)
                continue
            return handle


def _unlock(handle: int) -> None:
    # Closing alone would leave the lock with a child that was forked meanwhile.
    flock(handle, fcntl.LOCK_UN)
    os.close(handle)


@contextmanager
def claimed(folder: Path) -> Generator[bool]:
    """Hold a folder if nobody else does; gives whether it is held."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        yield flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        _unlock(handle)


def flock(handle: int, how: int) -> bool:
    """Lock or unlock an open file or folder; False when another holds it, or the file system has no locks."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        return False
    return True


def has_locks(folder: Path) -> bool:
    """Tell whether the file system of a folder knows locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno not in _CANNOT_LOCK
    finally:
        os.close(handle)
    return True


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
