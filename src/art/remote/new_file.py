"""A file of this disk that arrives in blocks, in any order. Knows no remote."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from art.store.refusal import explained

if TYPE_CHECKING:
    from collections.abc import Buffer  # pyright: ignore[reportAttributeAccessIssue]


class NewFile:
    """A file that is being written, and takes its space on the disk once the object's own size bears out the claim."""

    def __init__(self, handle: int, path: Path, size_bytes: int) -> None:
        self.handle, self.path, self.size_bytes = handle, path, size_bytes
        self._allocating = threading.Lock()
        self._allocated = False

    def write(self, block: Buffer, place: int) -> None:
        """Write a block; raises `StorageError` when the disk is full."""
        rest = memoryview(block)
        with explained("write", self.path):
            while rest:
                written = os.pwrite(self.handle, rest, place)
                rest, place = rest[written:], place + written

    def allocate(self) -> None:
        """Take the whole file's space, once; raises `StorageError` when there is not enough."""
        with self._allocating, explained("write", self.path):
            if not self._allocated:
                _allocate(self.handle, self.size_bytes)
                self._allocated = True


@contextmanager
def created(path: Path, size_bytes: int) -> Generator[NewFile]:
    """Open a new file."""
    with explained("write", path):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    try:
        yield NewFile(handle, path, size_bytes)
    finally:
        os.close(handle)


def _allocate(handle: int, size_bytes: int) -> None:
    if size_bytes == 0:
        return
    try:
        os.posix_fallocate(handle, 0, size_bytes)
    except (AttributeError, OSError) as error:
        # macOS has no such call, and some file systems refuse it; a full disk is said by both.
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(handle, size_bytes)
