"""A folder that becomes a checkpoint: what is written into it, its manifest, its commit.

Knows bytes, names and digests; the store that it was opened in gives it its place.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from art.errors import ArtError, CorruptCheckpointError, StorageError
from art.format import layout
from art.format.kinds import left_out
from art.format.manifest import FileEntry, Hop, Manifest, Parent, digest_bytes, read_manifest, utc_now
from art.names import CheckpointRef
from art.store import disk, journal, staging
from art.store.aside import SetAside
from art.store.checkpoint import Checkpoint, Damage, check_file, check_size
from art.store.refusal import explained
from art.store.sharing import Sharing, share

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


@dataclass(frozen=True, kw_only=True)
class Forked:
    """What a fork did."""

    checkpoint: Checkpoint
    newest_step: int
    """Where the destination stands: beyond the fork when the same fork is repeated after training went on."""
    repeated: bool = False
    """The very same fork was there already; nothing was done."""
    shared_bytes: int = 0
    copied_bytes: int = 0
    fetched_bytes: int = 0
    """What came from another place, repetitions included."""
    reused_bytes: int = 0
    """What this disk had already of a fork from another place."""
    sharing: frozenset[Sharing] = frozenset()
    set_aside: SetAside | None = None


@dataclass(frozen=True, kw_only=True)
class Spare:
    """A file that may have the bytes that another one lost."""

    folder: Path
    entry: FileEntry
    holder: str
    """What it belongs to, in words."""
    immutable: bool

    @property
    def path(self) -> Path:
        return self.folder / self.entry.path


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A folder that is a checkpoint but for its manifest: the one who gives it its place writes that last."""

    folder: Path
    manifest: Manifest
    content: bytes
    """The manifest's own bytes."""

    @property
    def ref(self) -> CheckpointRef:
        return self.manifest.ref

    @property
    def digest(self) -> str:
        return digest_bytes(self.content)


class Publisher(Protocol):
    """What a stage needs of the store that it was opened in."""

    @property
    def root(self) -> Path: ...
    @property
    def staging(self) -> Path: ...
    def require(self, checkpoint: Checkpoint) -> None: ...
    def find(self, ref: CheckpointRef) -> Checkpoint | None: ...
    def publish(self, draft: Draft, *, after: Parent | None = None) -> Checkpoint: ...
    def publish_fork(self, draft: Draft, hop: Hop, *, overwrite: bool = False) -> Forked: ...
    def publish_repaired(self, draft: Draft, damage: Damage) -> SetAside: ...


class Stage:
    """A folder that becomes a checkpoint as a whole or not at all."""

    def __init__(self, store: Publisher, ref: CheckpointRef) -> None:
        self.ref = ref
        self.path = store.staging
        self._store = store
        self._drafted: Draft | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        # Moves that were begun and not finished may need the folder: whoever settles the journal takes it from there.
        is_needed = partial(journal.is_pending, self._store.root / layout.model_path(self.ref.model))
        self.path = self._opened.enter_context(staging.new_staging(self._store.staging, is_needed=is_needed))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def commit(self, *, parent: Checkpoint | None = None, **details: Any) -> Checkpoint:
        """Make what was written a checkpoint that continues `parent`.

        `details` are fields of the manifest: base_model, lora, libraries, environment, metrics.
        """
        manifest = Manifest(
            project=self.ref.model.project,
            model=self.ref.model.name,
            step=self.ref.step,
            created_at=utc_now(),
            files=self.staged(),
            parent=_parent_of(parent.ref, parent.digest) if parent else None,
            ancestry=parent.manifest.ancestry if parent else (),
            **details,
        )
        is_own = manifest.parent is not None and manifest.parent.ref.model == self.ref.model
        return self._store.publish(self._draft(manifest), after=manifest.parent if is_own else None)

    def find_committed(self) -> Checkpoint | None:
        """Find what was committed, also where that raised; None where it has not its place."""
        draft = self._drafted
        if draft is None:
            return None
        with suppress(ArtError, OSError):
            checkpoint = self._store.find(draft.ref)
            return checkpoint if checkpoint and checkpoint.digest == draft.digest else None
        return None

    def staged(self) -> tuple[FileEntry, ...]:
        """Describe the files that were written; nobody writes them from here on."""
        return tuple(_protected(self.path, path) for path in sorted(disk.files_below(self.path)))

    def commit_fork(
        self, source: Manifest, hop: Hop, *, share_from: Checkpoint | None = None, overwrite: bool = False
    ) -> Forked:
        """Make this a fork of `source`, with the files of a checkpoint on this disk or with those already staged."""
        manifest = forked_manifest(source, hop, self.ref)
        how = self._share_all(manifest.files, share_from) if share_from else {}
        forked = self._store.publish_fork(self._draft(manifest), hop, overwrite=overwrite)
        if forked.repeated:
            return forked
        copied = sum(entry.size_bytes for entry, sharing in how.items() if sharing is Sharing.COPY)
        shared = sum(entry.size_bytes for entry in how) - copied
        return replace(forked, shared_bytes=shared, copied_bytes=copied, sharing=frozenset(how.values()))

    def commit_copy(self, manifest: bytes) -> Checkpoint:
        """Make what was fetched the very checkpoint that its manifest describes."""
        return self._store.publish(self._draft(read_manifest(manifest, where=str(self.ref)), manifest))

    def commit_repaired(self, manifest: bytes, damage: Damage) -> SetAside:
        """Take the place of a damaged folder, which is set aside. Every byte is compared with the manifest first."""
        described = read_manifest(manifest, where=str(self.ref))
        for entry in described.files:
            check_file(self.path, entry)
        return self._store.publish_repaired(self._draft(described, manifest), damage)

    def take(self, entry: FileEntry, spare: Spare) -> bool:
        """Take a file from where its bytes may lie; False, and nothing taken, when they are others by now."""
        target = self.place(entry.path)
        try:
            check_size(spare.folder, spare.entry)
            share(spare.path, target, immutable=spare.immutable)
            check_file(self.path, entry)
        except (CorruptCheckpointError, StorageError) as error:
            self.drop(entry)
            if isinstance(error, StorageError) and error.errno not in _GONE:
                raise
            return False
        return True

    def drop(self, entry: FileEntry) -> None:
        """Take a file out of the stage again, as far as it came."""
        (self.path / entry.path).unlink(missing_ok=True)

    def share(self, entry: FileEntry, holder: Checkpoint) -> Sharing:
        """Take a file from a checkpoint on this disk."""
        check_size(holder.path, entry)
        target = self.place(entry.path)
        return share(holder.path / entry.path, target, immutable=not holder.is_foreign)

    def bring(self, source: Path, path: str) -> Sharing:
        """Take a file of another program, which may write it again: a reflink of it, or a copy."""
        return share(source, self.place(path), immutable=False)

    def place(self, path: str) -> Path:
        """Give the place of a file that comes into the stage; the folders above it are made."""
        target = self.path / path
        if target.parent != self.path:
            disk.make_staged_folders(target.parent)
        return target

    def _draft(self, manifest: Manifest, content: bytes | None = None) -> Draft:
        self._drafted = Draft(folder=self.path, manifest=manifest, content=content or manifest.to_bytes())
        return self._drafted

    def _share_all(self, entries: Collection[FileEntry], holder: Checkpoint) -> dict[FileEntry, Sharing]:
        try:
            return {entry: self.share(entry, holder) for entry in entries}
        finally:
            # Or these may be files of two checkpoints, or of one that its program wrote again.
            self._store.require(holder)


def _protected(folder: Path, path: Path) -> FileEntry:
    disk.protect(path)
    name = path.relative_to(folder).as_posix()
    with explained("look at", path):
        size_bytes = path.stat().st_size
    return FileEntry(path=name, size_bytes=size_bytes, blake3=disk.digest(path))


def forked_manifest(source: Manifest, hop: Hop, destination: CheckpointRef) -> Manifest:
    """Describe the fork of a checkpoint: its files and all that is known of it, under another name and parent."""
    reset = tuple(sorted({*source.reset, *hop.reset}))
    without = left_out(source.kind, source.names, hop.reset)
    return source.model_copy(
        update={
            "project": destination.model.project,
            "model": destination.model.name,
            "created_at": utc_now(),
            "files": tuple(entry for entry in source.files if entry.path not in without),
            "parent": _parent_of(hop.ref, hop.digest, remote=hop.remote),
            "ancestry": (*source.ancestry, hop),
            "carried": tuple(part for part in source.carried if part not in reset),
            "reset": reset,
        }
    )


def _parent_of(ref: CheckpointRef, digest: str | None, *, remote: str | None = None) -> Parent:
    return Parent(project=ref.model.project, model=ref.model.name, step=ref.step, digest=digest, remote=remote)
