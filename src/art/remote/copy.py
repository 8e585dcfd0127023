"""From a bucket into a bucket: a fork that the server copies, without a byte through this machine where it can.

The order is that of every write: claim, files, manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

from art.errors import DestinationNotEmptyError
from art.format import layout, lineage
from art.format.lineage import ForkTerms
from art.format.manifest import FileEntry, Hop, Manifest, digest_bytes, read_manifest
from art.names import CheckpointRef
from art.remote import transfer
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.copier import Copier, FolderInBucket, entries_of
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.transfer import Meter, Progress
from art.remote.write import FileSource, StepBefore, Written, find_claim, require_free, write
from art.store.aside import SetAside
from art.store.checkpoint import Checkpoint, reading
from art.store.stage import forked_manifest


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a fork inside a bucket, or into another one, did."""

    manifest: Manifest
    url: str
    repeated: bool = False
    """The very same fork was there already; nothing was done."""
    copied_bytes: int = 0
    """What the server copied by itself."""
    streamed_bytes: int = 0
    """What went through this machine."""
    set_aside: SetAside | None = None


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The model of a bucket that a fork begins, as it is before."""

    objects: Objects
    patience: Patience
    ref: CheckpointRef
    """What the fork writes."""
    newest: RemoteCheckpoint | None
    before: StepBefore | None
    """What lies at that step, where it is known already."""
    clear: Callable[[str], SetAside | None] | None
    """Sets aside everything that the model has, for a reason; None where a fork may not."""


@dataclass(frozen=True)
class FolderOnDisk:
    """The files of a checkpoint of this disk, for `write`."""

    checkpoint: Checkpoint
    objects: Objects
    meter: Meter

    def put(self, entry: FileEntry, key: str) -> None:
        with reading(self.checkpoint):
            transfer.send(self.objects, key, self.checkpoint.path / entry.path, entry, self.meter)

    def needs_memory(self, entry: FileEntry) -> bool:
        return entry.size_bytes > transfer.SMALL_BYTES


def fork_between(
    source_objects: Objects,
    source: RemoteCheckpoint,
    receiver: Receiver,
    *,
    progress: Progress | None = None,
    **terms: Unpack[ForkTerms],
) -> Copied:
    """Begin a model in a bucket with a checkpoint of a bucket or of the Hub, at the same step.

    The same fork repeated does nothing; any other into a model that has checkpoints raises
    `DestinationNotEmptyError`, unless the receiver sets those aside.
    """
    same_place = source_objects.location == receiver.objects.location
    hop = lineage.hop_from(
        source.ref, source.digest, remote=None if same_place else str(source_objects.location), **terms
    )
    meter = Meter(source.size_bytes, progress)
    copier = Copier(source_objects, receiver.objects, meter, receiver.patience)

    def describe() -> Manifest:
        if source.is_foreign:
            copier.streamed_bytes += source.size_bytes
        return source.manifest.model_copy(update={"files": entries_of(source_objects, source)})

    begun = _begin(receiver, hop, describe=describe, source=FolderInBucket(copier, source.key))
    return replace(begun, copied_bytes=copier.copied_bytes, streamed_bytes=copier.streamed_bytes)


def move_between(
    source_objects: Objects,
    source: RemoteCheckpoint,
    target: Objects,
    *,
    patience: Patience,
    before: StepBefore,
    progress: Progress | None = None,
) -> Written:
    """Write a checkpoint of a bucket into another one under its own name, as a push of it would."""
    copier = Copier(source_objects, target, Meter(source.size_bytes, progress), patience)
    manifest = source.manifest.model_copy(update={"files": entries_of(source_objects, source)})
    files = FolderInBucket(copier, source.key)
    return write(target, manifest, source.content or manifest.to_bytes(), files, before=before)


def fork_from_disk(
    source: Checkpoint,
    receiver: Receiver,
    *,
    progress: Progress | None = None,
    **terms: Unpack[ForkTerms],
) -> Copied:
    """Begin a model in a bucket with a checkpoint of this disk; the rules are those of a fork between buckets."""
    hop = lineage.hop_from(source.ref, source.digest, **terms)
    meter = Meter(source.manifest.size_bytes, progress)
    files = FolderOnDisk(source, receiver.objects, meter)
    begun = _begin(receiver, hop, describe=lambda: source.manifest, source=files)
    return replace(begun, streamed_bytes=meter.moved_bytes)


def _begin(receiver: Receiver, hop: Hop, *, describe: Callable[[], Manifest], source: FileSource) -> Copied:
    """Write the fork, unless it is there."""
    objects, newest, ref = receiver.objects, receiver.newest, receiver.ref
    if newest and _is_same_fork(newest, hop):
        return _copied(objects, newest.manifest, repeated=True)
    if newest and not receiver.clear:
        raise DestinationNotEmptyError(
            f"{ref.model} cannot be forked into: it has step {newest.ref.step} in {objects.location}. "
            f"{DestinationNotEmptyError.WAYS_OUT}"
        )
    claim = receiver.before.claim if receiver.before else find_claim(objects, ref)
    manifest, content = _adopted(objects, forked_manifest(describe(), hop, ref), claim)
    if newest and newest.ref.step < hop.step:
        # What cannot be written is refused before anything makes way for it.
        require_free(objects, ref, digest_bytes(content), claim)
    aside = receiver.clear(f"replaced by a fork at {hop.step}") if receiver.clear else None
    write(objects, manifest, content, source, before=receiver.before)
    return _copied(objects, manifest, set_aside=aside)


def _copied(objects: Objects, manifest: Manifest, **told: Any) -> Copied:
    return Copied(manifest=manifest, url=str(objects.place(str(layout.checkpoint_path(manifest.ref)))), **told)


def _is_same_fork(newest: RemoteCheckpoint, hop: Hop) -> bool:
    forks = newest.manifest.ancestry
    return bool(forks) and lineage.is_same_fork(forks[-1], hop)


def _adopted(objects: Objects, manifest: Manifest, claim: bytes | None) -> tuple[Manifest, bytes]:
    """Take the manifest that an earlier attempt at the same fork claimed the step with, so that it is completed."""
    if claim is not None:
        begun = read_manifest(claim, where=str(objects.place(str(layout.claim_path(manifest.ref)))))
        if (begun.files, begun.parent, begun.ancestry) == (manifest.files, manifest.parent, manifest.ancestry):
            return begun, claim
    return manifest, manifest.to_bytes()
