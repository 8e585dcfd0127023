"""A file in a second place on the local disk: as a reflink, a hard link or a copy. The only module that links.

Knows files and bytes; knows nothing of models, steps or manifests.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path

from art.store import disk
from art.store.refusal import explained

_FICLONE = 0x40049409
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


class Sharing(StrEnum):
    """How a file came to be in a second place."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


def share(source: Path, target: Path, *, immutable: bool = True) -> Sharing:
    """Put a file in a second place, moving no byte where the file system can share them.

    A hard link is only made of an immutable source: a program that rewrites its file must not rewrite ours.
    Durable once the folder is finished.
    """
    with explained(f"share {source} with", target):
        if _reflink(source, target):
            sharing = Sharing.REFLINK
        elif immutable and _hard_link(source, target):
            return Sharing.HARD_LINK
        else:
            shutil.copyfile(source, target)
            sharing = Sharing.COPY
    disk.protect(target)
    return sharing


def take_out(source: Path, target: Path) -> None:
    """Give a user a file of their own, to be changed: a reflink or a copy. The folders above it are made."""
    with explained("write", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _reflink(source, target):
            shutil.copyfile(source, target)


def place_new(finished: Path, target: Path) -> bool:
    """Give a finished file a place where nothing lies; False when something does. Durable when it returns."""
    with explained("write", target):
        try:
            target.hardlink_to(finished)
        except FileExistsError:
            return False
        disk.sync(target.parent)
    return True


def _regular(path: str, flags: int) -> int:
    # Neither a link nor a pipe that came in its place meanwhile.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform == "darwin":
        return _clonefile(source, target)
    with open(source, "rb", opener=_regular) as original, target.open("xb") as clone:
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
