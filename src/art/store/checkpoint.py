"""What a step's folder is: a checkpoint of ours, a foreign one, or debris.

Reads manifests and file sizes; writes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from art.errors import CheckpointNotFoundError, CorruptCheckpointError, StorageError
from art.format import layout
from art.format.manifest import MAX_BYTES, FileEntry, Manifest, digest_bytes, read_manifest
from art.format.selection import Skipped
from art.names import CheckpointRef
from art.store import disk, regular
from art.store.refusal import explained

if TYPE_CHECKING:
    from art.store.foreign import FileTrace

# `foreign` is imported where a folder has no manifest: who reads checkpoints of ours does not wait for it.


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint on this disk, or a foreign one: usable, but written by another program."""

    ref: CheckpointRef
    path: Path
    description: Manifest
    """Of a foreign checkpoint: what its adapter configuration says, without files, for no weights were read."""
    digest: str | None
    """Identity: the digest of the manifest's bytes. None for a foreign checkpoint, which has no manifest."""
    traces: tuple[FileTrace, ...] = ()
    """The files of a foreign checkpoint, as they lay when it was opened."""

    @property
    def manifest(self) -> Manifest:
        """Everything about it; of a foreign one every byte is read once, for nobody wrote its digests down.

        Raises `CheckpointNotFoundError` when a foreign one was deleted or replaced since it was opened.
        """
        return self._digested if self.is_foreign else self.description

    @cached_property
    def _digested(self) -> Manifest:
        from art.store import foreign

        try:
            files = tuple(foreign.entry_of(self.path, trace) for trace in self.traces)
        except CorruptCheckpointError as error:
            raise CheckpointNotFoundError(f"{self.ref} was deleted or replaced meanwhile.") from error
        return self.description.model_copy(update={"files": files})

    @property
    def is_foreign(self) -> bool:
        return self.digest is None

    @property
    def where(self) -> str:
        """Its folder, as text."""
        return str(self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its files, without the manifest."""
        return tuple(name for name, _ in self.sizes)

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Its files and their sizes in bytes, without the manifest."""
        if self.is_foreign:
            return tuple((trace.name, trace.size_bytes) for trace in self.traces)
        return tuple((entry.path, entry.size_bytes) for entry in self.description.files)

    @property
    def size_bytes(self) -> int:
        return sum(size_bytes for _, size_bytes in self.sizes)


Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Damage:
    """A step's folder whose bytes are wrong, as it was when that was found."""

    path: Path
    stamp: Stamp
    problem: str


@contextmanager
def reading(checkpoint: Checkpoint) -> Generator[None]:
    """Read files of a checkpoint; raises `CheckpointNotFoundError` where that failed because it went away meanwhile."""
    try:
        yield
    except (CorruptCheckpointError, OSError) as error:
        if _is_at_its_place(checkpoint):
            raise
        raise CheckpointNotFoundError(f"{checkpoint.ref} was deleted or replaced meanwhile.") from error


def _is_at_its_place(checkpoint: Checkpoint) -> bool:
    try:
        content = find_manifest(checkpoint.path)
    except CorruptCheckpointError:
        return True
    if content is None:
        return checkpoint.is_foreign and checkpoint.path.is_dir()
    return digest_bytes(content) == checkpoint.digest


def stamp(folder: Path) -> Stamp:
    """Give what changes when a step's folder is replaced by another one; empty when it is gone."""
    stamps: list[tuple[int, int]] = []
    for path in (folder, folder / layout.MANIFEST):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = path.lstat()
            stamps.append((status.st_ino, status.st_mtime_ns))
    return tuple(stamps)


def look(ref: CheckpointRef, folder: Path) -> Checkpoint | Skipped:
    """Open a step's folder. Sizes are checked here, digests by whoever reads the files.

    Raises `CorruptCheckpointError` for a committed checkpoint whose files are not what its manifest says.
    """
    if folder.is_symlink():
        return Skipped(ref.step, f"{folder} is a symbolic link, and artfork follows none in a model's folder")
    content = find_manifest(folder)
    if content is None:
        return _look_foreign(ref, folder)
    manifest = read_manifest(content, where=str(folder / layout.MANIFEST))
    if manifest.ref != ref:
        return Skipped(ref.step, f"it is a copy of {manifest.ref} made by hand; use `art fork` to make one")
    try:
        for entry in manifest.files:
            check_size(folder, entry)
    except CorruptCheckpointError:
        if os.path.lexists(folder / layout.MANIFEST):
            raise
        return Skipped(ref.step, "it was just deleted")
    return Checkpoint(ref=ref, path=folder, description=manifest, digest=digest_bytes(content))


def find_manifest(folder: Path) -> bytes | None:
    """Read the bytes of a step's manifest, None when it has none; raises `CorruptCheckpointError`."""
    return regular.find(folder / layout.MANIFEST, max_bytes=MAX_BYTES)


def is_whole(folder: Path | str) -> bool:
    """Tell whether a step's folder counts as a checkpoint: it has a manifest, or the two files of a foreign one."""
    # Of ten thousand folders in a row, so without making a path object of each.
    if os.path.islink(folder):  # noqa: PTH114
        return False
    if os.path.lexists(f"{folder}/{layout.MANIFEST}"):
        return True
    from art.store import foreign

    try:
        foreign.check_whole(Path(folder))
    except CorruptCheckpointError:
        return False
    return True


def is_debris(folder: Path) -> bool:
    """Tell whether nothing is lost with a step's folder: it is empty, or has only files of ours that hold no weights.

    Whatever else has no manifest may be the work of another program, whole or about to be: it is left alone.
    """
    if folder.is_symlink():
        return False
    try:
        with explained("list", folder):
            entries = list(folder.iterdir())
    except StorageError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    from art.store import foreign

    ours = all(path.name in layout.OWN_FILES and path.is_file() and not path.is_symlink() for path in entries)
    return ours and not foreign.has_weights(folder)


def check_manifest(checkpoint: Checkpoint) -> None:
    """Read a manifest again; raises `CorruptCheckpointError` when it is another one by now."""
    content = find_manifest(checkpoint.path)
    digest = None if content is None else digest_bytes(content)
    if digest != checkpoint.digest:
        raise CorruptCheckpointError(
            f"{checkpoint.path / layout.MANIFEST} was altered: its digest is {digest}, it was {checkpoint.digest}."
        )


def check_file(folder: Path, entry: FileEntry) -> None:
    """Read a file of a checkpoint again; raises `CorruptCheckpointError` naming it and both digests."""
    check_size(folder, entry)
    path = folder / entry.path
    digest = disk.digest(path)
    if digest != entry.blake3:
        raise CorruptCheckpointError(f"{path} was altered: its digest is {digest}, its manifest says {entry.blake3}.")


def check_size(folder: Path, entry: FileEntry) -> None:
    """Check that a file of a checkpoint is a regular one of its size; raises `CorruptCheckpointError`."""
    path = folder / entry.path
    size_bytes = regular.find_size_bytes_below(folder, entry.path)
    if size_bytes is None:
        raise CorruptCheckpointError(f"{path} is gone; its manifest lists it with digest {entry.blake3}.")
    if size_bytes != entry.size_bytes:
        raise CorruptCheckpointError(
            f"{path} has {size_bytes:,} bytes, its manifest says {entry.size_bytes:,} (digest {entry.blake3}). "
            "Go back to an earlier step with `art rewind`, or bring another copy."
        )


def _look_foreign(ref: CheckpointRef, folder: Path) -> Checkpoint | Skipped:
    from art.store import foreign

    try:
        traces = tuple(foreign.trace_of(folder, name) for name in foreign.FILES)
        checkpoint = Checkpoint(
            ref=ref, path=folder, description=foreign.describe(ref, folder), digest=None, traces=traces
        )
    except CorruptCheckpointError as error:
        return Skipped(ref.step, str(error))
    foreign.require_foreign([name for name in layout.OWN_FILES if os.path.lexists(folder / name)], where=str(folder))
    return checkpoint
