"""From a bucket onto this disk: a copy of a checkpoint, or a fork of it, staged and committed like any other.

Files whose digest this disk has already are shared, not fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from shutil import disk_usage
from typing import Unpack

from art.errors import CheckpointExistsError, CorruptCheckpointError, StorageError
from art.format import lineage
from art.format.kinds import left_out
from art.format.lineage import ForkTerms
from art.format.manifest import FileEntry, Manifest
from art.format.safetensors import TensorEntry
from art.names import ModelRef
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile, read_adapter
from art.remote.objects import Objects
from art.remote.transfer import Meter, Progress, Wanted, fetch
from art.store import foreign
from art.store.checkpoint import Checkpoint
from art.store.refusal import explained
from art.store.stage import Forked, Spare, Stage
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a pull did."""

    checkpoint: Checkpoint
    fetched_bytes: int
    """What went over the wire, repetitions included."""
    reused_bytes: int
    """What this disk had already."""


class Fetching:
    """A place whose checkpoints can be brought onto this disk."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def read_adapter(self, checkpoint: RemoteCheckpoint) -> tuple[bytes, Mapping[str, TensorEntry]]:
        """Read an adapter's configuration, and the header of its weights; raises `CorruptCheckpointError`."""
        return read_adapter(self._objects, checkpoint)

    def fetch_file(self, file: RemoteFile, target: Path, *, progress: Progress | None = None) -> None:
        """Bring one file to a new place on this disk; raises `CorruptCheckpointError` when its bytes are wrong."""
        fetch(self._objects, [_wanted(file, target)], Meter(file.size_bytes, progress))

    def fetch(
        self, checkpoint: RemoteCheckpoint, store: CheckpointStore, *, progress: Progress | None = None
    ) -> Fetched:
        """Make a checkpoint present on this disk under its own name, as a whole or not at all; every byte is checked.

        Nothing is to be done where it is there. What another program wrote gets a manifest.
        """
        local_copy = store.find(checkpoint.ref)
        if local_copy and not checkpoint.is_foreign and _is_same(local_copy, checkpoint):
            return Fetched(checkpoint=local_copy, fetched_bytes=0, reused_bytes=checkpoint.size_bytes)
        if local_copy and not checkpoint.is_foreign:
            raise _differs(checkpoint, local_copy)
        _require_same_run(checkpoint, store)
        with _no_folder_on_failure(store), store.stage(checkpoint.ref) as stage:
            fetched, reused = _bring(self._objects, checkpoint, checkpoint.files, stage, store, progress)
            content = checkpoint.content
            own = _commit_foreign(stage, checkpoint, local_copy) if content is None else stage.commit_copy(content)
        return Fetched(checkpoint=own, fetched_bytes=fetched, reused_bytes=reused)

    def fetch_fork(
        self,
        checkpoint: RemoteCheckpoint,
        destination: ModelRef,
        store: CheckpointStore,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        **terms: Unpack[ForkTerms],
    ) -> Forked:
        """Begin a model on this disk with a checkpoint of this place; the rules are `CheckpointStore.fork`'s.

        What is reset is not even fetched.
        """
        hop = lineage.hop_from(checkpoint.ref, checkpoint.digest, remote=str(self._objects.location), **terms)
        if repeated := store.find_fork(destination, hop, overwrite=overwrite):
            return repeated
        without = left_out(checkpoint.manifest.kind, checkpoint.names, hop.reset)
        files = tuple(file for file in checkpoint.files if file.name not in without)
        with _no_folder_on_failure(store), store.stage(destination.at(checkpoint.ref.step)) as stage:
            fetched, reused = _bring(self._objects, checkpoint, files, stage, store, progress)
            manifest = _described(checkpoint, stage) if checkpoint.is_foreign else checkpoint.manifest
            forked = stage.commit_fork(manifest, hop, overwrite=overwrite)
        return replace(forked, fetched_bytes=fetched, reused_bytes=reused)


def _bring(
    objects: Objects,
    source: RemoteCheckpoint,
    files: Collection[RemoteFile],
    stage: Stage,
    store: CheckpointStore,
    progress: Progress | None,
) -> tuple[int, int]:
    """Put files into a stage; gives the bytes fetched and the bytes that were here already."""
    here = _shared_from_here(files, source.ref.step, stage, store, {source.ref.model.project, stage.ref.model.project})
    missing = [file for file in files if file.name not in here]
    needed = sum(file.size_bytes for file in missing)
    _require_space(objects, source, missing, store)
    meter = Meter(needed, progress)
    fetch(objects, [_wanted(file, stage.place(file.name)) for file in missing], meter)
    return meter.moved_bytes, sum(file.size_bytes for file in files) - needed


def _wanted(file: RemoteFile, target: Path) -> Wanted:
    return Wanted(key=file.key, size_bytes=file.size_bytes, blake3=file.blake3, target=target, sha256=file.sha256)


def _require_space(
    objects: Objects, source: RemoteCheckpoint, missing: Collection[RemoteFile], store: CheckpointStore
) -> None:
    needed, free = sum(file.size_bytes for file in missing), _free_bytes(store.root)
    if needed <= free:
        return
    for file in missing:
        # Sizes are claims of whoever wrote the manifest: an absurd one is no reason to make room.
        size_bytes = objects.size_bytes(file.key)
        if size_bytes != file.size_bytes:
            raise CorruptCheckpointError(
                f"{objects.place(file.key)} has {size_bytes:,} bytes, its checkpoint says "
                f"{file.size_bytes:,}; nothing was fetched."
            )
    raise StorageError(f"{source.ref} needs {needed:,} bytes on {store.root}, which has {free:,} left; free some.")


def _free_bytes(folder: Path) -> int:
    """Give the space left where `folder` lies or will lie."""
    for above in (folder, *folder.parents):
        with explained("look at", above), suppress(FileNotFoundError, NotADirectoryError):
            return disk_usage(above).free
    raise AssertionError("the uppermost folder is always there")


def _shared_from_here(
    files: Collection[RemoteFile], step: int, stage: Stage, store: CheckpointStore, projects: set[str]
) -> set[str]:
    """Share the files whose bytes this disk has: in the same step pulled before, or in a fork of it."""
    wanted = {file.blake3: file for file in files if file.blake3}
    shared_names: set[str] = set()
    for holder, entry in _held(store, step, projects) if wanted else ():
        file = wanted.get(entry.blake3)
        if file and file.name not in shared_names:
            spare = Spare(folder=holder.path, entry=entry, holder=str(holder.ref), immutable=not holder.is_foreign)
            # A file that was altered since is fetched instead.
            if stage.take(entry.model_copy(update={"path": file.name}), spare):
                shared_names.add(file.name)
        if len(shared_names) == len(wanted):
            break
    return shared_names


def _held(store: CheckpointStore, step: int, projects: set[str]) -> Iterator[tuple[Checkpoint, FileEntry]]:
    # A fork keeps its step's number, so whatever shares files with a checkpoint lies at the same step.
    for model in store.models():
        if model.project not in projects:
            continue
        checkpoint: Checkpoint | None = None
        with suppress(CorruptCheckpointError):
            checkpoint = store.find(model.at(step))
        if checkpoint and not checkpoint.is_foreign:
            yield from ((checkpoint, entry) for entry in checkpoint.manifest.files)


def _commit_foreign(stage: Stage, source: RemoteCheckpoint, local_copy: Checkpoint | None) -> Checkpoint:
    """Commit what another program wrote: from here on it has a manifest, which says that only the adapter came."""
    manifest = _described(source, stage)
    if local_copy is None:
        return stage.commit(base_model=manifest.base_model, lora=manifest.lora, carried=manifest.carried)
    if {entry.blake3 for entry in local_copy.manifest.files} != {entry.blake3 for entry in manifest.files}:
        raise _differs(source, local_copy)
    return local_copy


def _is_same(local_copy: Checkpoint, source: RemoteCheckpoint) -> bool:
    # A foreign checkpoint gets its manifest when it is pushed, and stays without one here.
    return local_copy.digest == source.digest or (
        local_copy.is_foreign and local_copy.manifest.files == source.manifest.files
    )


def _require_same_run(checkpoint: RemoteCheckpoint, store: CheckpointStore) -> None:
    """Check that a checkpoint continues what this disk has at the step before; raises `CheckpointExistsError`."""
    parent = checkpoint.manifest.parent
    if parent is None or parent.ref.model != checkpoint.ref.model:
        return
    here: Checkpoint | None = None
    with suppress(CorruptCheckpointError):
        here = store.find(parent.ref)
    if here and not here.is_foreign and here.digest != parent.digest:
        raise CheckpointExistsError(
            f"{checkpoint.url} continues another {parent.ref} than the one on this disk; nothing was changed. "
            "Fork it under a new name to have both."
        )


def _described(source: RemoteCheckpoint, stage: Stage) -> Manifest:
    return foreign.describe_with_files(source.ref, stage.path)


def _differs(source: RemoteCheckpoint, local_copy: Checkpoint) -> CheckpointExistsError:
    return CheckpointExistsError(
        f"{source.ref} is on this disk with other contents than at {source.url}; nothing was changed. "
        f"Fork the one you want under a new name, or remove the other: `art rm {quote(str(local_copy.ref))}`."
    )


@contextmanager
def _no_folder_on_failure(store: CheckpointStore) -> Generator[None]:
    """Take the root away again when it was made for a transfer that failed."""
    made = not store.root.exists()
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):
                store.root.rmdir()
        raise
