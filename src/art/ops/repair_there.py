"""Damaged checkpoints of a bucket made whole again, with bytes from a disk, the bucket itself and another one.

Every source is compared with its digest before anything changes. What is damaged is kept beside the checkpoint; one
that nothing can complete stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain

from art.errors import ArtError, CorruptCheckpointError, NotFoundError, StorageError
from art.format import layout
from art.format.manifest import FileEntry, digest_bytes, read_manifest
from art.names import CheckpointRef
from art.ops.repair import each_as_far_as_it_goes, holders, nobody_has, require_same
from art.ops.verify import Brought, Repair, StepReport, check, known_identity
from art.remote.mending import Mend, Source
from art.remote.remote import Remote
from art.store.checkpoint import check_file, find_manifest
from art.store.spares import find_spares
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class Helpers:
    """Where bytes may come from, beside the bucket itself."""

    store: CheckpointStore | None = None
    remote: Remote | None = None

    def __str__(self) -> str:
        places = [self.store.root if self.store else None, self.remote]
        return " and ".join(str(place) for place in places if place is not None)


NamedSource = tuple[Source, str]
"""A source, and what holds it, in words."""


def repair_all_there(
    bucket: Remote, reports: Sequence[StepReport], helpers: Helpers, *, progress: Callable[[int, int], None]
) -> list[StepReport]:
    """Repair what some reports found damaged in a bucket, as far as it and its helpers have the bytes."""
    return each_as_far_as_it_goes(reports, lambda report: repair_there(bucket, report, helpers, progress=progress))


def repair_there(
    bucket: Remote, report: StepReport, helpers: Helpers, *, progress: Callable[[int, int], None]
) -> StepReport:
    """Repair one checkpoint if it is damaged; the report that is given back says how, or why not."""
    if not report.is_damaged or report.step is None:
        return report
    try:
        outcome = _repair(bucket, report.model.at(report.step), helpers, progress)
    except ArtError as error:
        outcome = Repair(problem=str(error))
    return replace(report, repair=outcome)


def _repair(bucket: Remote, ref: CheckpointRef, helpers: Helpers, progress: Callable[[int, int], None]) -> Repair:
    report, key = check(bucket, ref), bucket.folder(ref)
    if not report.is_damaged or key is None:
        return Repair()
    content, brought = _manifest(bucket, ref, key, helpers)
    entries = read_manifest(content, where=str(ref)).files
    wrong = _wrong(bucket, ref, entries, report)
    sources: dict[str, Source] = {}
    for entry in wrong:
        source, holder = _find(bucket, ref, entry, helpers)
        sources[entry.path] = source
        brought.append(Brought(entry.path, holder))
    if known_identity(bucket, ref) is None:
        require_same(ref, brought, content)
    problem = "; ".join(f"{fault.file} {fault.problem}" for fault in report.faults)
    aside = bucket.mend(Mend(ref=ref, key=key, content=content, sources=sources, problem=problem), progress=progress)
    if (again := check(bucket, ref)).is_damaged:
        raise CorruptCheckpointError(f"{ref} is damaged still: {again.faults[0].file} {again.faults[0].problem}")
    return Repair(brought=tuple(brought), set_aside=aside.id if aside else None)


def _wrong(bucket: Remote, ref: CheckpointRef, entries: Sequence[FileEntry], report: StepReport) -> list[FileEntry]:
    """Give the files that are not what the right manifest says."""
    faults = {fault.file for fault in report.faults}
    if layout.MANIFEST not in faults:
        return [entry for entry in entries if entry.path in faults]
    key = bucket.folder(ref)
    return [entry for entry in entries if bucket.digest(f"{key}/{entry.path}") != (entry.size_bytes, entry.blake3)]


def _manifest(bucket: Remote, ref: CheckpointRef, key: str, helpers: Helpers) -> tuple[bytes, list[Brought]]:
    """Give the manifest that a damaged checkpoint has, or else a copy of it from elsewhere."""
    identity = known_identity(bucket, ref)
    own = _as_manifest(_own_manifest(bucket, ref), ref)
    if own is not None and identity in (None, digest_bytes(own)):
        return own, []
    for content, holder in _copies(bucket, ref, helpers):
        if _as_manifest(content, ref) is not None and identity in (None, digest_bytes(content)):
            return content, [Brought(layout.MANIFEST, holder)]
    looked = f" and {helpers}" if str(helpers) else ""
    raise CorruptCheckpointError(
        f"{bucket}/{key}/{layout.MANIFEST} is damaged, and nothing in {bucket}{looked} has the one that it was."
    )


def _own_manifest(bucket: Remote, ref: CheckpointRef) -> bytes | None:
    with suppress(CorruptCheckpointError, NotFoundError):
        return bucket.open_checkpoint(ref).content
    return None


def _as_manifest(content: bytes | None, ref: CheckpointRef) -> bytes | None:
    """Give a manifest back if it is one, of this very checkpoint."""
    with suppress(CorruptCheckpointError):
        if content is not None and read_manifest(content, where=str(ref)).ref == ref:
            return content
    return None


def _copies(bucket: Remote, ref: CheckpointRef, helpers: Helpers) -> Iterator[tuple[bytes, str]]:
    claim = bucket.claimed(ref)
    if claim is not None:
        yield claim, f"{bucket}/{layout.claim_path(ref)}"
    folder = helpers.store.folders(ref.model).get(ref.step) if helpers.store else None
    if folder is not None and (content := find_manifest(folder)) is not None:
        yield content, str(folder)
    if helpers.remote is not None and (content := _own_manifest(helpers.remote, ref)) is not None:
        yield content, f"{helpers.remote}/{layout.checkpoint_path(ref)}"


def _find(bucket: Remote, ref: CheckpointRef, entry: FileEntry, helpers: Helpers) -> NamedSource:
    """Find a file with the very bytes; raises `CorruptCheckpointError` when nobody has them."""
    remotes = [bucket, *([helpers.remote] if helpers.remote else [])]
    in_buckets = (candidate for remote in remotes for candidate in _in_bucket(remote, ref, entry))
    source = next(chain(_on_disk(helpers.store, ref, entry), in_buckets), None)
    if source is None:
        raise nobody_has(entry, [bucket, helpers.store.root if helpers.store else None], helpers.remote)
    return source


def _on_disk(store: CheckpointStore | None, ref: CheckpointRef, entry: FileEntry) -> Iterator[NamedSource]:
    for spare in find_spares(store, ref.step, entry.blake3) if store else ():
        # One that cannot be read is none; another source may be whole.
        with suppress(CorruptCheckpointError, StorageError):
            check_file(spare.folder, spare.entry)
            yield spare.path, spare.holder


def _in_bucket(remote: Remote, ref: CheckpointRef, entry: FileEntry) -> Iterator[NamedSource]:
    for checkpoint in holders(remote, ref):
        for file in checkpoint.files:
            is_same = (file.size_bytes, file.blake3) == (entry.size_bytes, entry.blake3)
            if is_same and remote.measure(checkpoint, file.name) == (entry.size_bytes, entry.blake3):
                yield remote.source(file), checkpoint.url
