"""Real file systems on loop devices, small, made once a session: what links and clones do differs between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class FileSystem:
    """A kind of file system that an image can be formatted with."""

    name: str
    format: tuple[str, ...]
    size_mib: int
    reflinks: bool


@dataclass(frozen=True)
class Mount:
    """A mounted file system and the folder it lies on."""

    path: Path
    kind: FileSystem

    def used_bytes(self) -> int:
        """Give what lies on the device, after everything pending is written."""
        os.sync()
        return shutil.disk_usage(self.path).used


class MountError(OSError):
    """This machine cannot format or mount such a file system."""


KINDS = {
    kind.name: kind
    for kind in (
        FileSystem("ext4", ("mkfs.ext4", "-q", "-F"), size_mib=256, reflinks=False),
        FileSystem("xfs", ("mkfs.xfs", "-q", "-m", "reflink=1"), size_mib=320, reflinks=True),
        FileSystem("btrfs", ("mkfs.btrfs", "-q"), size_mib=256, reflinks=True),
    )
}


def missing(kind: FileSystem) -> str | None:
    """Say why an image of this kind cannot be mounted here; None where it should be possible."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which(kind.format[0]) is None:
        return f"{kind.format[0]} is not installed"
    return None


@contextmanager
def mounted(kind: FileSystem, folder: Path) -> Iterator[Mount]:
    """Mount a new, empty file system in `folder`; unmounted at the end. Raises `MountError` where it cannot be."""
    image, place = folder / f"{kind.name}.img", folder / kind.name
    with image.open("wb") as file:
        file.truncate(kind.size_mib * MIB)  # sparse: only what is written takes room
    place.mkdir()
    _call(*kind.format, str(image))
    _call("mount", "-o", "loop", "-t", kind.name, str(image), str(place))
    try:
        yield Mount(place, kind)
    finally:
        _call("umount", "--lazy", str(place))
        image.unlink()


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MountError(f"{' '.join(command)}: {done.stderr.strip()}")
