"""Locks on folders, which the kernel drops when their process dies. Makes, moves and writes nothing itself.

A file system without locks is used without: what must not happen twice is a rename that never replaces.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from art.errors import StorageError
from art.store.refusal import explained

SAID_AFTER_S = 10.0
"""Of waiting for another process, which may have been stopped, or may be far away."""
_LOOKED_AGAIN_S = 0.05
_CANNOT_LOCK = {errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
_log = logging.getLogger("art")


@contextmanager
def locked(folder: Path, *, make: Callable[[Path], None], within_s: float | None = None) -> Generator[None]:
    """Hold the only lock on a folder, which `make` makes, and makes again when it was removed meanwhile.

    Waits for another process that holds it, and says so once that lasts; raises `StorageError` where it lasts longer
    than `within_s`.
    """
    handle = _lock(folder, make, within_s)
    try:
        yield
    finally:
        _unlock(handle)


def _lock(folder: Path, make: Callable[[Path], None], within_s: float | None) -> int:
    while True:
        with explained("write in", folder):
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                make(folder)
                continue
            try:
                is_locked = _wait(handle, folder) if within_s is None else _wait_shortly(handle, folder, within_s)
            except BaseException:
                os.close(handle)
                raise
            if is_locked and not _is_at(handle, folder):
                os.close(handle)
                continue
            return handle


def _wait(handle: int, folder: Path) -> bool:
    """Lock an open folder once nobody else holds it; False where the file system has no locks."""
    if flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
        return True
    notice = threading.Timer(SAID_AFTER_S, _log.warning, ["Waiting for another process that changes %s ...", folder])
    notice.daemon = True
    notice.start()
    try:
        return flock(handle, fcntl.LOCK_EX)
    finally:
        notice.cancel()


def _wait_shortly(handle: int, folder: Path, within_s: float) -> bool:
    """Lock an open folder as `_wait` does; raises `StorageError` where another holds it for too long."""
    ends_at = time.monotonic() + within_s
    while not flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
        if not has_locks(folder):
            return False
        if time.monotonic() > ends_at:
            raise StorageError(
                errno.ETIMEDOUT,
                f"Could not write in {folder}: another process has worked there for {within_s:g} s, and was not "
                "waited for any longer. Try again once it has ended.",
            )
        time.sleep(_LOOKED_AGAIN_S)
    return True


def _unlock(handle: int) -> None:
    # Closing alone would leave the lock with a child that was forked meanwhile.
    try:
        flock(handle, fcntl.LOCK_UN)
    finally:
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
