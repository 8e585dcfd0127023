"""A folder that another trainer wrote: into the store as a checkpoint, and out of it again.

Its bytes are kept, and never loaded. Knows files and names; the kind of a folder is told by the names in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from art.errors import CheckpointExistsError, ConfigurationError, ConflictError, IncompatibleError
from art.format.fields import path_problem
from art.format.kinds import ADAPTER, NAMES, carried_by, kind_of
from art.format.layout import MANIFEST
from art.format.manifest import finite_metrics
from art.names import CheckpointRef
from art.store import disk
from art.store.checkpoint import Checkpoint, check_file, check_size
from art.store.sharing import Sharing, take_out
from art.store.stage import Stage
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a commit of a folder did."""

    checkpoint: Checkpoint
    repeated: bool
    """The very same files were committed under this step before; nothing was done."""
    shared_bytes: int = 0
    copied_bytes: int = 0


@dataclass(frozen=True)
class _Source:
    """Where a trainer wrote: a folder, or one file in it."""

    folder: Path
    only: str | None = None

    def paths(self) -> Sequence[str]:
        """List the files as they are now; raises `ConfigurationError` for what cannot be kept."""
        return _paths_of(self.folder) if self.only is None else [self.only]


def commit_folder(
    store: CheckpointStore,
    folder: Path,
    ref: CheckpointRef,
    *,
    kind: str | None = None,
    metrics: Mapping[str, float | None] | None = None,
) -> Committed:
    """Make the files of a folder the checkpoint `ref`, which continues the model's newest one.

    The folder stays as it is: files are reflinked or copied, and never hard-linked, for its program may write them
    again. The same files committed again do nothing. Raises `ConfigurationError` for a folder that cannot be kept,
    `IncompatibleError` for a kind that the model's newest checkpoint has not, `CheckpointExistsError` for a step that
    is taken or lies behind, `ConflictError` when the folder changes meanwhile.
    """
    return _commit(store, _Source(folder), ref, kind=kind, metrics=metrics or {})


def commit_file(store: CheckpointStore, file: Path, ref: CheckpointRef, *, kind: str | None = None) -> Committed:
    """Make one file the checkpoint `ref`, as of a trainer that writes no folders; otherwise as `commit_folder`."""
    return _commit(store, _Source(file.parent, only=file.name), ref, kind=kind, metrics={})


def _commit(
    store: CheckpointStore,
    source: _Source,
    ref: CheckpointRef,
    *,
    kind: str | None,
    metrics: Mapping[str, float | None],
) -> Committed:
    paths = source.paths()
    kind = _checked_kind(kind or kind_of(paths), source.folder)
    if checkpoint := store.find(ref):
        return _repeated(checkpoint, source.folder, paths)
    parent = _parent_for(store, ref, kind)
    with store.stage(ref) as stage:
        how = _bring(stage, source, paths)
        checkpoint = stage.commit(
            parent=parent, kind=kind, carried=carried_by(kind, paths), metrics=finite_metrics(metrics)
        )
    copied = sum(entry.size_bytes for entry in checkpoint.manifest.files if how[entry.path] is Sharing.COPY)
    return Committed(
        checkpoint=checkpoint,
        repeated=False,
        shared_bytes=checkpoint.manifest.size_bytes - copied,
        copied_bytes=copied,
    )


def checkout(checkpoint: Checkpoint, folder: Path) -> int:
    """Write a checkpoint's files into a new folder, without the manifest; gives their bytes.

    They are the user's own, to be changed. Every digest is checked on the way. Raises `ConfigurationError` for a folder
    with something in it, `CorruptCheckpointError` for a damaged file; then the folder is not made.
    """
    with new_folder(folder) as unfinished:
        for entry in checkpoint.manifest.files:
            check_size(checkpoint.path, entry)
            take_out(checkpoint.path / entry.path, unfinished / entry.path)
            check_file(unfinished, entry)
    return checkpoint.manifest.size_bytes


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """Yield a folder to write in, which becomes `folder` at the end, or nothing of it does.

    Raises `ConfigurationError` for one with something in it.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ConfigurationError(f"{folder} is there already; name a folder that is new or empty.")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    try:
        disk.make_folders(unfinished)
        yield unfinished
        if not disk.publish(unfinished, folder):
            raise ConfigurationError(f"{folder} was filled meanwhile; nothing was changed.")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _paths_of(folder: Path) -> Sequence[str]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder; name the one that the trainer wrote its checkpoint into.")
    paths = sorted(path.relative_to(folder).as_posix() for path in disk.files_below(folder))
    if not paths:
        raise ConfigurationError(f"{folder} has no files; there is nothing to commit.")
    if MANIFEST in paths:
        raise ConfigurationError(f"{folder} has a {MANIFEST}, which is what artfork calls its own file. Rename it.")
    for path in paths:
        if problem := path_problem(path):
            raise ConfigurationError(f"{folder / path} cannot be kept: {problem}. Rename it.")
    return paths


def _checked_kind(kind: str, folder: Path) -> str:
    if kind not in NAMES or kind == ADAPTER:
        known = ", ".join(name for name in NAMES if name != ADAPTER)
        raise ConfigurationError(f"{folder} cannot be committed as kind {kind!r}; there are {known}.")
    return kind


def _parent_for(store: CheckpointStore, ref: CheckpointRef, kind: str) -> Checkpoint | None:
    newest = store.newest(ref.model)
    if newest is None:
        return None
    if newest.manifest.kind != kind:
        raise IncompatibleError(
            f"{ref.model} has checkpoints of kind {newest.manifest.kind}, and this one is of kind {kind}. "
            "Commit it under another name."
        )
    if newest.ref.step > ref.step:
        raise CheckpointExistsError(
            f"{ref.model} stands at step {newest.ref.step}, beyond {ref.step}. Rewind it first "
            f"(art rewind {ref.model}@STEP), or fork it under another name."
        )
    return newest


def _bring(stage: Stage, source: _Source, paths: Sequence[str]) -> Mapping[str, Sharing]:
    folder = source.folder
    before = _stamps(folder, paths)
    how = {path: stage.bring(folder / path, path) for path in paths}
    if _stamps(folder, source.paths()) != before:
        raise ConflictError(
            f"{folder} changed while it was read, so nothing was committed. Commit it once it is whole."
        )
    return how


def _stamps(folder: Path, paths: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
    try:
        statuses = {path: (folder / path).lstat() for path in paths}
    except FileNotFoundError as error:
        raise ConflictError(f"{error.filename} went away while it was read; nothing was committed.") from error
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in statuses.items()}


def _repeated(checkpoint: Checkpoint, folder: Path, paths: Sequence[str]) -> Committed:
    if {path: disk.digest(folder / path) for path in paths} != {
        entry.path: entry.blake3 for entry in checkpoint.manifest.files
    }:
        raise CheckpointExistsError(
            f"{checkpoint.ref} is there already, with other files than {folder}; nothing was changed. "
            "Name another step or another model."
        )
    return Committed(checkpoint=checkpoint, repeated=True)
