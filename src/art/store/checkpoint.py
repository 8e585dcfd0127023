"""What a step's folder is: a checkpoint of ours, a foreign one, or debris.

Reads manifests and file sizes; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from art.errors import CorruptCheckpointError
from art.format import layout
from art.format.manifest import FileEntry, Manifest, digest_bytes, read_manifest
from art.format.selection import Skipped
from art.names import CheckpointRef
from art.store import disk, foreign


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint on this disk, or a foreign one: usable, but written by another program."""

    ref: CheckpointRef
    path: Path
    manifest: Manifest
    digest: str | None
    """Identity: the digest of the manifest's bytes. None for a foreign checkpoint, which has no manifest."""

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
        return tuple(entry.path for entry in self.manifest.files)


def look(ref: CheckpointRef, folder: Path) -> Checkpoint | Skipped:
    """Open a step's folder. Sizes are checked here, digests by whoever reads the files.

    Raises `CorruptCheckpointError` for a committed checkpoint whose files are not what its manifest says.
    """
    try:
        content = (folder / layout.MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _look_foreign(ref, folder)
    manifest = read_manifest(content, where=str(folder / layout.MANIFEST))
    if manifest.ref != ref:
        return Skipped(ref.step, f"it is a copy of {manifest.ref} made by hand; use `art fork` to make one")
    try:
        for entry in manifest.files:
            _check_size(folder / entry.path, entry)
    except CorruptCheckpointError:
        if (folder / layout.MANIFEST).exists():
            raise
        return Skipped(ref.step, "it was just deleted")
    return Checkpoint(ref, folder, manifest, digest_bytes(content))


def is_whole(folder: Path) -> bool:
    """Tell whether a step's folder counts as a checkpoint: it has a manifest, or the two files of a foreign one."""
    if (folder / layout.MANIFEST).exists():
        return True
    try:
        foreign.check_whole(folder)
    except CorruptCheckpointError:
        return False
    return True


def is_debris(folder: Path) -> bool:
    """Tell whether nothing is lost with a step's folder: it is empty, or has only files of ours that hold no weights.

    Whatever else has no manifest may be the work of another program, whole or about to be: it is left alone.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    entries = list(folder.iterdir())
    ours = all(path.name in layout.OWN_FILES and path.is_file() and not path.is_symlink() for path in entries)
    return ours and not foreign.has_weights(folder)


def check_file(path: Path, entry: FileEntry) -> None:
    """Read a file again; raises `CorruptCheckpointError` naming it and both digests."""
    _check_size(path, entry)
    found = disk.digest(path)
    if found != entry.blake3:
        raise CorruptCheckpointError(f"{path} was altered: its digest is {found}, its manifest says {entry.blake3}.")


def _look_foreign(ref: CheckpointRef, folder: Path) -> Checkpoint | Skipped:
    try:
        return Checkpoint(ref, folder, foreign.describe(ref, folder), digest=None)
    except CorruptCheckpointError as error:
        return Skipped(ref.step, str(error))


def _check_size(path: Path, entry: FileEntry) -> None:
    try:
        found = path.stat().st_size
    except FileNotFoundError as error:
        raise CorruptCheckpointError(f"{path} is gone; its manifest lists it with digest {entry.blake3}.") from error
    if found != entry.size_bytes:
        raise CorruptCheckpointError(
            f"{path} has {found:,} bytes, its manifest says {entry.size_bytes:,} (digest {entry.blake3}). "
            "Go back to an earlier step with `art rewind`, or bring another copy."
        )
