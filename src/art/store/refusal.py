"""What the operating system refuses, in the words of the library: on which path, why, and what to do now."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from art.errors import ArtError, StorageError, UnconfirmedError

_WHY = {
    errno.ENOSPC: "no space is left on the device; free some (`art gc`, `art rm`) and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; choose another root folder",
    errno.EACCES: "permission is denied; choose a root folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a root folder that you may write to",
    errno.ENOTDIR: "a file is in the way of a folder; move it or choose another root folder",
    errno.EEXIST: "a file is in the way of a folder; move it or choose another root folder",
    errno.ELOOP: "a symbolic link is in its place; remove the link",
    errno.ENAMETOOLONG: "the path is too long for this file system; choose shorter names",
}


@contextmanager
def explained(doing: str, path: Path) -> Generator[None]:
    """Turn what the operating system refuses into a `StorageError` that names the path and the way out."""
    try:
        yield
    except ArtError:
        raise
    except OSError as error:
        raise refusal(doing, path, error) from error


@contextmanager
def unconfirmed(what: str) -> Generator[None]:
    """Turn what the disk refuses once something was done into an `UnconfirmedError` that says what that is."""
    try:
        yield
    except OSError as error:
        raise UnconfirmedError(
            error.errno,
            f"{what}, but the disk did not confirm that it keeps this: {_why(error)}. A power failure may undo it; "
            "look at the disk.",
        ) from error


def refusal(doing: str, path: Path, error: OSError) -> StorageError:
    """Say what the operating system refused, on which path, and the way out."""
    return StorageError(error.errno, f"Could not {doing} {path}: {_why(error)}.")


def _why(error: OSError) -> str:
    return _WHY.get(error.errno or 0, error.strerror or str(error))
