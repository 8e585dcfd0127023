"""Damaged checkpoints made whole again, with bytes from elsewhere in the root and from a bucket.

A file is known by its digest, so it may come from any checkpoint that holds it. What is damaged is set aside, never
deleted; a checkpoint that nothing can complete stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from art.errors import (
    ArtError,
    CheckpointNotFoundError,
    ConflictError,
    CorruptCheckpointError,
    FormatVersionError,
    NotFoundError,
)
from art.format import layout
from art.format.manifest import FileEntry, digest_bytes, read_manifest
from art.names import CheckpointRef
from art.ops.verify import Brought, Repair, StepReport, check, known_identity
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.remote import Remote
from art.store.checkpoint import Damage, find_manifest, stamp
from art.store.spares import find_far_spares, find_near_spares
from art.store.stage import Spare, Stage
from art.store.store import CheckpointStore


def repair_all(
    store: CheckpointStore,
    reports: Sequence[StepReport],
    *,
    remote: Remote | None = None,
    progress: Callable[[int, int], None],
) -> list[StepReport]:
    """Repair what some reports found damaged, as far as the root and a bucket have its bytes."""
    return each_as_far_as_it_goes(reports, lambda report: repair(store, report, remote=remote, progress=progress))


def each_as_far_as_it_goes(
    reports: Sequence[StepReport], repair_one: Callable[[StepReport], StepReport]
) -> list[StepReport]:
    """Repair what some reports found damaged, again while one more is repaired: it may hold what another one needs."""
    repaired = list(reports)
    has_changed = True
    while has_changed:
        tried = [repair_one(report) for report in repaired]
        has_changed = any(
            now.is_repaired and not before.is_repaired for now, before in zip(tried, repaired, strict=True)
        )
        repaired = tried
    return repaired


def repair(
    store: CheckpointStore, report: StepReport, *, remote: Remote | None = None, progress: Callable[[int, int], None]
) -> StepReport:
    """Repair one checkpoint if it is damaged; the report that is given back says how, or why not."""
    if not report.is_damaged or report.step is None:
        return report
    ref = report.model.at(report.step)
    try:
        outcome = _repair(store, ref, remote, progress)
    except ConflictError as error:
        # Another process may have repaired it meanwhile.
        outcome = Repair(problem=str(error) if check(store, ref).is_damaged else None)
    except ArtError as error:
        outcome = Repair(problem=str(error))
    return replace(report, repair=outcome)


def _repair(
    store: CheckpointStore, ref: CheckpointRef, remote: Remote | None, progress: Callable[[int, int], None]
) -> Repair:
    folder = store.folders(ref.model).get(ref.step)
    if folder is None:
        raise CheckpointNotFoundError(f"{ref} was deleted or set aside meanwhile.")
    seen, report = stamp(folder), check(store, ref)
    if not report.is_damaged:
        return Repair()
    problem = "; ".join(f"{fault.file} {fault.problem}" for fault in report.faults)
    wrong = {fault.file for fault in report.faults}
    content, brought = _manifest(store, ref, folder, remote)
    with store.stage(ref) as stage:
        bringer = _Bringer(store, ref, stage, remote=remote, progress=progress)
        for entry in read_manifest(content, where=str(ref)).files:
            source = None if entry.path in wrong else _own(folder, entry, stage)
            brought += [] if source else [Brought(entry.path, bringer.bring(entry))]
        if known_identity(store, ref) is None:
            require_same(ref, brought, content)
        aside = stage.commit_repaired(content, Damage(folder, seen, problem))
    return Repair(brought=tuple(brought), set_aside=aside.id)


def require_same(ref: CheckpointRef, brought: Sequence[Brought], content: bytes) -> None:
    """Refuse a manifest from elsewhere that no file of a damaged checkpoint bears out."""
    if len(brought) > len(read_manifest(content, where=str(ref)).files):
        raise CorruptCheckpointError(
            f"No file of {ref} is what {brought[0].source} says, so that is probably another checkpoint. Delete {ref}, "
            "and bring that one, if it is the one you want."
        )


def holders(remote: Remote, ref: CheckpointRef) -> Iterator[RemoteCheckpoint]:
    """Yield what may hold the same bytes: the same checkpoint, then whatever has the number that a fork keeps."""
    others = (model for model in remote.models() if model != ref.model)
    for model in (ref.model, *others):
        with suppress(NotFoundError, CorruptCheckpointError, FormatVersionError):
            yield remote.open_checkpoint(model.at(ref.step))


def nobody_has(entry: FileEntry, places: Sequence[object], remote: Remote | None) -> CorruptCheckpointError:
    """Say that a file's bytes are in no place that was looked at; a remote that nobody named is the way out."""
    looked = " and ".join(str(place) for place in (*places, remote) if place is not None)
    hint = "" if remote else "; name a bucket that has it with --from"
    return CorruptCheckpointError(f"Nothing in {looked} has the bytes of {entry.path} (digest {entry.blake3}){hint}.")


def _own(folder: Path, entry: FileEntry, stage: Stage) -> bool:
    return stage.take(entry, Spare(folder=folder, entry=entry, holder="", immutable=True))


def _manifest(
    store: CheckpointStore, ref: CheckpointRef, folder: Path, remote: Remote | None
) -> tuple[bytes, list[Brought]]:
    """Give the manifest that a damaged folder has, or else the one that the bucket has of the same checkpoint."""
    identity = known_identity(store, ref)
    content = _own_manifest(ref, folder)
    if content is not None and identity in (None, digest_bytes(content)):
        return content, []
    if remote is None:
        raise CorruptCheckpointError(
            f"{folder / layout.MANIFEST} is damaged, and nothing else in {store.root} says what {ref} was; "
            "name a bucket that it was pushed to with --from."
        )
    checkpoint = remote.open_checkpoint(ref)
    if checkpoint.content is None or identity not in (None, checkpoint.digest):
        raise CorruptCheckpointError(f"{checkpoint.url} is another checkpoint than the one that {ref.model} continues.")
    return checkpoint.content, [Brought(layout.MANIFEST, checkpoint.url)]


def _own_manifest(ref: CheckpointRef, folder: Path) -> bytes | None:
    """Read the manifest of a damaged folder, None when it is damaged itself."""
    where = folder / layout.MANIFEST
    try:
        content = find_manifest(folder)
        named = ref if content is None else read_manifest(content, where=str(where)).ref
    except CorruptCheckpointError:
        return None
    if named != ref:
        raise CheckpointNotFoundError(f"{where} belongs to {named}: this folder was copied by hand.")
    return content


class _Bringer:
    """Brings files into a stage from wherever their bytes are."""

    def __init__(
        self,
        store: CheckpointStore,
        ref: CheckpointRef,
        stage: Stage,
        *,
        remote: Remote | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._store, self._ref, self._stage = store, ref, stage
        self._remote, self._progress = remote, progress
        # Each reads manifests, the second all of the root's: asked once, and only where the one before was not enough.
        self._near = cache(partial(find_near_spares, store, ref))
        self._far = cache(partial(find_far_spares, store, ref))

    def bring(self, entry: FileEntry) -> str:
        """Bring a file; gives where it came from. Raises `CorruptCheckpointError` when nobody has it."""
        source = self._from_here(entry) or self._from_bucket(entry)
        if source is None:
            raise nobody_has(entry, [self._store.root], self._remote)
        return source

    def _from_here(self, entry: FileEntry) -> str | None:
        spares = (spare for find in (self._near, self._far) for spare in find().get(entry.blake3, []))
        return next((spare.holder for spare in spares if self._stage.take(entry, spare)), None)

    def _from_bucket(self, entry: FileEntry) -> str | None:
        for checkpoint in holders(self._remote, self._ref) if self._remote else ():
            for file in checkpoint.files:
                if file.blake3 != entry.blake3 or file.size_bytes != entry.size_bytes:
                    continue
                assert self._remote is not None
                try:
                    self._remote.fetch_file(file, self._stage.place(entry.path), progress=self._progress)
                except CorruptCheckpointError:
                    # It is damaged there too.
                    self._stage.drop(entry)
                else:
                    return checkpoint.url
        return None
