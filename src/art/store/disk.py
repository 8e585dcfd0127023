"""The local disk: stage, share, fsync, publish, lock, digest. The only module that does any of these.

Knows folders and bytes; knows nothing of models, steps or manifests.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import sys
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from blake3 import blake3

from art.errors import StorageError

READ_ONLY = 0o444
_FICLONE = 0x40049409
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
_CANNOT_LOCK = {errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
_WHY = {
    errno.ENOSPC: "no space is left on the device; free some (`art gc`, `art rm`) and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; choose another root folder",
    errno.EACCES: "permission is denied; choose a root folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a root folder that you may write to",
    errno.ENOTDIR: "a file is in the way of a folder; move it or choose another root folder",
    errno.ENAMETOOLONG: "the path is too long for this file system; choose shorter names",
}


class Sharing(StrEnum):
    """How a file came to be in a second place."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


@contextmanager
def explained(doing: str, path: Path) -> Generator[None]:
    """Turn what the operating system refuses into a `StorageError` that names the path and the way out."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        why = _WHY.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(error.errno, f"Could not {doing} {path}: {why}.") from error


def new_staging(staging: Path) -> Path:
    """Make a folder of one's own below `staging`."""
    folder = staging / uuid.uuid4().hex
    with explained("write in", staging):
        folder.mkdir(parents=True)
    return folder


def remove(folder: Path) -> None:
    """Delete a folder that no reader can see, and the staging folder above it once that is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def discard(folder: Path, staging: Path) -> None:
    """Take a folder out of sight in one step, then delete it."""
    trash = new_staging(staging)
    with explained("delete", folder):
        folder.rename(trash / folder.name)
        sync(folder.parent)
    remove(trash)


def publish(folder: Path, target: Path) -> bool:
    """Give a finished folder its place in one step; False, and nothing changed, when something is there."""
    with explained("write", target):
        _make_folders(target.parent)
        sync(folder)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return False
            raise
        sync(target.parent)
    return True


def write_file(path: Path, content: bytes) -> None:
    """Write a new read-only file that is on the disk when this returns."""
    with explained("write", path), open(path, "xb", opener=_read_only) as file:
        file.write(content)
        file.flush()
        _full_sync(file.fileno())


def replace_json(path: Path, value: Any) -> None:
    """Write a small JSON file as a whole or not at all."""
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    write_file(fresh, json.dumps(value, indent=2).encode())
    with explained("write", path):
        fresh.rename(path)
        sync(path.parent)


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines and wait until they are on the disk. A line that an earlier crash tore is ended first."""
    with explained("append to", path):
        _make_folders(path.parent)
        with path.open("ab+", buffering=0) as file:
            _flock(file.fileno(), fcntl.LOCK_EX)
            size_bytes = os.fstat(file.fileno()).st_size
            torn = size_bytes > 0 and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n"
            content = memoryview((b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines))
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Move a folder or file on the same file system, making the folders above its target."""
    with explained("move", source):
        _make_folders(target.parent)
        source.rename(target)
        sync(target.parent)
        sync(source.parent)


def names(folder: Path) -> list[str]:
    """List the names in a folder, none when there is no folder."""
    with explained("list", folder), suppress(FileNotFoundError):
        return [entry.name for entry in os.scandir(folder)]
    return []


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _full_sync(handle)
    finally:
        os.close(handle)


def seal(path: Path) -> None:
    """Make a file durable and read-only: from here on it never changes."""
    with explained("write", path):
        sync(path)
        path.chmod(READ_ONLY)


def digest(path: Path) -> str:
    """Give the BLAKE3 digest of a file as 64 hexadecimal digits."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def share(source: Path, target: Path, *, immutable: bool = True) -> Sharing:
    """Put a file in a second place, moving no byte where the file system can share them.

    A hard link is only made of an immutable source: a program that rewrites its file must not rewrite ours.
    """
    with explained("write", target):
        if _reflink(source, target):
            seal(target)
            return Sharing.REFLINK
        if immutable and _hard_link(source, target):
            return Sharing.HARD_LINK
        shutil.copyfile(source, target)
        seal(target)
    return Sharing.COPY


def free_bytes(folder: Path) -> int:
    """Give the space left where `folder` lies or will lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Hold the only lock on a folder, made if need be; one left empty is removed again.

    The kernel drops the lock when a process dies. A file system without locks is used without: publishing
    is a rename that never replaces, so one step is still written by one process only.
    """
    handle = _lock(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
            folder.parent.parent.rmdir()
        os.close(handle)


def _lock(folder: Path) -> int:
    while True:
        with explained("write in", folder):
            try:
                _make_folders(folder)
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                # The last holder removed the empty folder while we made it: make it again.
                continue
            if _flock(handle, fcntl.LOCK_EX) and not _is_at(handle, folder):
                os.close(handle)
                continue
            return handle


def is_abandoned(folder: Path) -> bool:
    """Tell whether nobody holds a staging folder any more."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)


@contextmanager
def held(folder: Path) -> Generator[None]:
    """Mark a staging folder as in use, until the process ends at the latest."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flock(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        return False
    return True


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def _read_only(path: str, flags: int) -> int:
    return os.open(path, flags, READ_ONLY)


def _full_sync(handle: int) -> None:
    # macOS: fsync only reaches the drive's cache, F_FULLFSYNC the medium.
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform == "darwin":
        return _clonefile(source, target)
    with source.open("rb") as original, target.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
        except OSError:
            cloned = False
        else:
            cloned = True
    if not cloned:
        target.unlink()
    return cloned


def _clonefile(source: Path, target: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.clonefile(os.fsencode(source), os.fsencode(target), 0) == 0


def _hard_link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    return True
