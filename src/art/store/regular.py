"""Files and folders that a stranger may have made: opened only when they are what they seem, and lie where they seem.

A pipe would keep its reader waiting for ever, a device or a link would lead it out of the model's folder, and a file
without bounds would fill the memory. Whoever reads the small files of a store reads them here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from art.errors import CorruptCheckpointError
from art.format.json import MAX_BYTES, parse_object
from art.store.refusal import explained, refusal

_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BUFFER_BYTES = 64 * 1024
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def find(path: Path, *, max_bytes: int) -> bytes | None:
    """Read a small file, None when there is none; raises `CorruptCheckpointError` for one that is none, or large."""
    file = find_opened(path, max_bytes=max_bytes)
    if file is None:
        return None
    with file, explained("read", path):
        # One byte more than it has, so that the end is seen at once.
        return file.read(os.fstat(file.fileno()).st_size + 1)


def read(path: Path, *, max_bytes: int) -> bytes:
    """Read a small file that must be there; raises `CorruptCheckpointError` where it is not, or as `find` does."""
    content = find(path, max_bytes=max_bytes)
    if content is None:
        raise CorruptCheckpointError(f"{path} is gone, though its checkpoint needs it.")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """Read a small file that holds a JSON object; raises `CorruptCheckpointError` as `read` does, or for another."""
    return parse_object(read(path, max_bytes=MAX_BYTES), where=str(path))


def find_opened(path: Path, *, max_bytes: int | None = None) -> BinaryIO | None:
    """Open a regular file to read, None when there is none; raises `CorruptCheckpointError` for anything else."""
    handle = _find_handle(path)
    if handle is None:
        return None
    with explained("look at", path):
        status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise _no_file(path, status.st_mode)
    if max_bytes is not None and status.st_size > max_bytes:
        os.close(handle)
        raise CorruptCheckpointError(f"{path} has {status.st_size:,} bytes, of {max_bytes:,} at most.")
    return open(handle, "rb", buffering=_BUFFER_BYTES)  # noqa: PTH123 - the handle is open already


def find_size_bytes(path: Path) -> int | None:
    """Give the size of a regular file, None when there is none; raises `CorruptCheckpointError` for anything else."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise refusal("look at", path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(path, status.st_mode)
    return status.st_size


def find_size_bytes_below(folder: Path, path: str) -> int | None:
    """Give the size of a regular file that no link leads to on the way from `folder`, as `find_size_bytes` does."""
    target = folder / path
    above = target.parent
    while above != folder:
        require_folders([above])
        above = above.parent
    return find_size_bytes(target)


def require_folders(paths: Iterable[Path]) -> None:
    """Check that no link stands for one of these folders; raises `CorruptCheckpointError`. One may be absent."""
    for path in paths:
        with explained("look at", path):
            is_link = path.is_symlink()
        if is_link:
            raise CorruptCheckpointError(f"{path} is a symbolic link; artfork follows none in a model's folder.")


def _find_handle(path: Path) -> int | None:
    try:
        return os.open(path, _READING)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # What cannot be opened at all: a link, and a socket or a device without a driver.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
            raise _no_file(path, path.lstat().st_mode) from error
        raise refusal("read", path, error) from error


def _no_file(path: Path, mode: int) -> CorruptCheckpointError:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    return CorruptCheckpointError(f"{path} is {kind}, where a file belongs; artfork opens nothing but regular files.")
