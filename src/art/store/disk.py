"""The local disk: stage, publish, rename, fsync, digest. The only module that does any of these.

Knows folders and bytes; knows nothing of models, steps or manifests.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from art.errors import CorruptCheckpointError
from art.store.hashing import hasher
from art.store.locks import flock, locked
from art.store.refusal import explained, unconfirmed

if TYPE_CHECKING:
    from concurrent.futures import Future

READ_ONLY = 0o444
DISCARDED = ".deleted-"
EARLY_SYNC_BYTES = 16 * 1024**2
SYNCS_AT_ONCE = 32
ATTEMPTS = 1000
"""How often a folder is made that other processes remove at that very moment; some file systems refuse it for ever."""
_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}


def discard(folder: Path) -> None:
    """Take a folder out of sight in one step, then delete it."""
    # Beside where it lay: a full disk has no room for another folder to move it to.
    hidden = folder.with_name(f"{DISCARDED}{os.urandom(16).hex()}")
    with explained("delete", folder):
        try:
            folder.rename(hidden)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # No room for so much as another name: killed here, it leaves a damaged step.
            shutil.rmtree(folder)
        with unconfirmed(f"{folder} is out of its place"):
            sync(folder.parent)
    shutil.rmtree(hidden, ignore_errors=True)


def discarded(folder: Path) -> list[Path]:
    """List what was taken out of sight in a folder, and not deleted before its process ended."""
    return sorted(folder / name for name in names(folder) if name.startswith(DISCARDED))


def finish(folder: Path) -> None:
    """Make a staged folder durable, with every file in it: nothing is added any more."""
    with explained("write", folder):
        _sync_all([*_all_below(folder), folder])


def finish_in_place(folder: Path) -> None:
    """Make a staged folder durable together with its name: a journal is about to say that it will be moved."""
    finish(folder)
    with explained("write", folder):
        _sync_all([folder.parent, folder.parent.parent])


def files_below(folder: Path) -> list[Path]:
    """List the files in a staged folder and in the folders below; raises `StorageError` for anything but files."""
    with explained("read", folder):
        paths = [path for path in _all_below(folder) if not stat.S_ISDIR(path.lstat().st_mode)]
        for path in paths:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise OSError(errno.EINVAL, f"{path} is no regular file")
    return paths


def make_staged_folders(folder: Path) -> None:
    """Make folders inside a staged one; durable once it is finished."""
    with explained("write in", folder):
        folder.mkdir(parents=True, exist_ok=True)


def publish(folder: Path, target: Path) -> bool:
    """Give a staged folder its place in one step; False, and nothing changed, when something is there.

    Raises `UnconfirmedError` when it has its place, and the disk does not say that it keeps it.
    """
    finish(folder)
    with explained("write", target):
        grown = _make_missing(target.parent)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return False
            raise
        with unconfirmed(f"{target} is in its place"):
            _sync_all([target.parent, *grown])
    return True


def write_file(path: Path, content: bytes) -> None:
    """Write a new read-only file; durable once its folder is finished."""
    with explained("write", path), open(path, "xb", opener=_read_only) as file:
        file.write(content)


def take_place(finished: Path, path: Path) -> None:
    """Give a finished file its place in one step, over one that is there; durable when it returns.

    Raises `UnconfirmedError` as `publish` does.
    """
    with explained("write", path):
        finished.rename(path)
        with unconfirmed(f"{path} is in its place"):
            sync(path.parent)


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines and wait until they are on the disk. A line that an earlier crash tore is ended first.

    No other process appends while the lines are made: what makes them may look at those that are there.
    Raises `StorageError` where anything but a regular file has its place: no link is followed.
    """
    with explained("append to", path), _opened_to_append(path) as file:
        flock(file.fileno(), fcntl.LOCK_EX)
        size_bytes = os.fstat(file.fileno()).st_size
        torn = size_bytes > 0 and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n"
        content = memoryview((b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines))
        while content:
            content = content[file.write(content) :]
        os.fsync(file.fileno())
        if size_bytes == 0:
            sync(path.parent)


def move(moves: Iterable[tuple[Path, Path]], between: tuple[Path, Path]) -> None:
    """Move folders or files from one folder into another on the same file system; durable when it returns."""
    source_folder, target_folder = between
    make_folders(target_folder)
    for source, target in moves:
        source.rename(target)
    sync(target_folder)
    # Empty by now, it may be removed at any moment.
    with suppress(FileNotFoundError):
        sync(source_folder)


def names(folder: Path) -> list[str]:
    """List the names in a folder, none when there is no folder."""
    with explained("list", folder), suppress(FileNotFoundError):
        return os.listdir(folder)  # noqa: PTH208 - the names themselves, of ten thousand steps
    return []


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        # macOS: fsync only reaches the drive's cache, F_FULLFSYNC the medium.
        if sys.platform == "darwin":
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fsync(handle)
    finally:
        os.close(handle)


def protect(path: Path) -> None:
    """Make a file read-only: from here on it never changes. Durable once its folder is finished."""
    with explained("write", path):
        path.chmod(READ_ONLY)


class EarlySync:
    """Sends what has arrived to the disk while more arrives, so that the sync at the end has little to wait for."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1, thread_name_prefix="art-sync")
        self._running: Future[None] | None = None
        self._unsent_bytes = 0
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._check()

    def wrote(self, handle: int, path: Path, size_bytes: int) -> None:
        """Count what was written to an open file; raises `StorageError` when the disk refused what came before."""
        with self._lock:
            self._unsent_bytes += size_bytes
            if self._unsent_bytes >= EARLY_SYNC_BYTES and (self._running is None or self._running.done()):
                self._check()
                self._unsent_bytes = 0
                # Of its own, since the file may be closed meanwhile.
                self._running = self._pool.submit(_sync_and_close, os.dup(handle), path)

    def _check(self) -> None:
        # The system reports a failed write once, so nobody else hears of it.
        if self._running:
            self._running.result()


def _sync_and_close(handle: int, path: Path) -> None:
    try:
        with explained("write", path):
            os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """Give the BLAKE3 digest of a file as 64 hexadecimal digits; raises `CorruptCheckpointError` when it is gone."""
    with explained("read", path):
        try:
            return hasher().update_mmap(path).hexdigest()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorruptCheckpointError(f"{path} is gone, and was there just now.") from error


@contextmanager
def exclusive(folder: Path, parts: Iterable[str], *, within_s: float | None = None) -> Generator[None]:
    """Hold the only lock on a folder, made if need be; one left with nothing but empty `parts` is removed again.

    The kernel drops the lock when a process dies. A file system without locks is used without: publishing
    is a rename that never replaces, so one step is still written by one process only.
    """
    with locked(folder, make=make_folders, within_s=within_s):
        try:
            yield
        finally:
            _prune(folder, parts)


def _prune(folder: Path, parts: Iterable[str]) -> None:
    """Remove a folder, the given parts of it, and the two folders above it, as far as nothing is in them.

    Nothing behind a link: what is empty there may be another program's.
    """
    with suppress(OSError):
        if any(path.is_symlink() for path in (folder, folder.parent, folder.parent.parent)):
            return
        for part in parts:
            with suppress(OSError):
                (folder / part).rmdir()
        for empty in (folder, folder.parent, folder.parent.parent):
            empty.rmdir()


def _all_below(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder, onerror=_raise):
        yield from (Path(above, name) for name in (*folders, *files))


def _raise(error: OSError) -> None:
    raise error


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, also where others remove them, empty; durable when it returns."""
    _insist(lambda: _sync_all(_make_missing(folder)))


def make_fleeting_folders(folder: Path) -> None:
    """Make a folder and those above it, as `make_folders` does; a power failure may take them."""
    _insist(lambda: _make_missing(folder))


def _insist(make: Callable[[], object]) -> None:
    """Make folders, again where another process removed one of them just then; raises what it is in the end."""
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            make()
            return
    make()


def make_folder(folder: Path) -> None:
    """Make one folder, unless it is there; other processes may remove it, empty, at any moment."""
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            # One look, and not two as in `mkdir(exist_ok=True)`: between them the folder may go and come.
            try:
                mode = folder.lstat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and folder.is_dir()):
                return
            raise
        else:
            return


def _make_missing(folder: Path) -> list[Path]:
    """Make a folder and those above it; gives the folders that have a new entry now, for the caller to sync."""
    if folder.is_dir():
        return []
    grown = _make_missing(folder.parent)
    make_folder(folder)
    return [*grown, folder.parent]


def _sync_all(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        for path in paths:
            sync(path)
        return
    # Imported by who writes: it takes longer than to read a root.
    from concurrent.futures import ThreadPoolExecutor

    # At once: a file system gathers what is asked for together into one write, and the time is in the waiting.
    with ThreadPoolExecutor(min(SYNCS_AT_ONCE, len(paths) - 1)) as pool:
        others = pool.map(sync, paths[:-1])
        sync(paths[-1])
        list(others)


@contextmanager
def _opened_to_append(path: Path) -> Generator[FileIO]:
    while True:
        make_folders(path.parent)
        try:
            handle = os.open(path, _APPENDING, 0o666)
        except FileNotFoundError:
            # Another process removed the folder, empty until now.
            continue
        break
    with os.fdopen(handle, "ab+", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        yield file


def _read_only(path: str, flags: int) -> int:
    return os.open(path, flags, READ_ONLY)
