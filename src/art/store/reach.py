"""How far the locks on a root reach: to every process that sees it, to those of this machine, or to nobody.

A lock is held on a folder. Most network file systems lock files between machines, and folders on one machine only.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from art.store.locks import has_locks

MOUNTS = Path("/proc/self/mountinfo")
LOCAL_LOCKS = {"9p", "afs", "beegfs", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
"""Kinds of file systems that several machines may mount, whose kernel code hands no lock of a folder to the server."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Reach(StrEnum):
    """Who sees that a folder is locked."""

    EVERYBODY = "everybody"
    THIS_MACHINE = "this machine"
    NOBODY = "nobody"


def lock_reach(root: Path) -> Reach:
    """Tell who sees the locks below a root, as far as this system says; it need not be there yet."""
    folders = (folder for folder in (root, *root.parents) if folder.exists())
    try:
        folder = next(folders)
        if not has_locks(folder):
            return Reach.NOBODY
        kind = file_system_of(folder.resolve(), MOUNTS.read_text(errors="replace"))
    except OSError:
        # Removed just now, or nothing of this system says more.
        return Reach.EVERYBODY
    is_local = kind in LOCAL_LOCKS or kind.startswith("fuse.")
    return Reach.THIS_MACHINE if is_local else Reach.EVERYBODY


def file_system_of(path: Path, mounts: str) -> str:
    """Give the kind of file system that a path lies on, by the kernel's list of mounts; empty when it says nothing."""
    kind, deepest = "", -1
    for line in mounts.splitlines():
        fields, _, described = line.partition(" - ")
        words = fields.split(" ")
        if len(words) < 5 or not described:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), words[4]))
        # Of two mounts in one place the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            kind, deepest = described.split(" ")[0], len(point.parts)
    return kind
