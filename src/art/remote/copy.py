"""From a bucket into a bucket: a fork that the server copies, without a byte through this machine where it can.

The order is that of every write: claim, files, manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Unpack

from art.errors import CorruptCheckpointError, DestinationNotEmptyError, RemoteAccessError, RemoteError
from art.format import lineage
from art.format.lineage import Asked
from art.format.manifest import FileEntry, Hop, Manifest, read_manifest
from art.names import ModelRef
from art.remote import server_copy, transfer
from art.remote.checkpoint import RemoteCheckpoint, claim_key
from art.remote.errors import MissingError
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.server_copy import ServerCopier
from art.remote.transfer import Meter, Progress
from art.remote.write import PutFile, checkpoint_key, write
from art.store.checkpoint import Checkpoint
from art.store.stage import forked_manifest

MAX_COPY_BYTES = 5 * 1024**3
"""What S3 copies with one request."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a fork inside a bucket, or into another one, did."""

    manifest: Manifest
    url: str
    repeated: bool
    """The very same fork was there already; nothing was done."""
    copied_bytes: int
    """What the server copied by itself."""
    streamed_bytes: int
    """What went through this machine."""
    seconds: float


class Copier:
    """Moves objects from one place to another by the cheapest way that works, and counts which it was."""

    def __init__(self, source: Objects, target: Objects, meter: Meter, patience: Patience) -> None:
        self.source, self.target, self.meter = source, target, meter
        self.patience = patience
        self.copied_bytes = 0
        self.streamed_bytes = 0

    def copy(self, source_key: str, entry: FileEntry, target_key: str) -> None:
        """Copy one file to where nothing lies; raises `CorruptCheckpointError` for wrong bytes that pass here."""
        try:
            if self._on_the_server(source_key, entry.size_bytes, target_key) and self._has_arrived(target_key, entry):
                self.copied_bytes += entry.size_bytes
                self.meter.add(entry.size_bytes)
                return
        except MissingError as error:
            raise CorruptCheckpointError(
                f"{self.source.place(source_key)} is gone, though its checkpoint needs it."
            ) from error
        stream = transfer.read_blocks(self.source, source_key, entry.size_bytes)
        blocks = transfer.checked(stream, entry.blake3, str(self.source.place(source_key)))
        transfer.send_blocks(self.target, target_key, blocks, entry.size_bytes, self.meter)
        self.streamed_bytes += entry.size_bytes

    def _on_the_server(self, source_key: str, size_bytes: int, target_key: str) -> bool:
        is_one_client, is_s3 = self.target.shares_client(self.source), self.source.location.is_s3
        in_parts = not is_one_client or size_bytes >= server_copy.WHOLE_COPY_BYTES
        if is_s3 and in_parts and self._copier and self._by(self._copier, source_key, size_bytes, target_key):
            return True
        if not is_one_client or (is_s3 and size_bytes > MAX_COPY_BYTES):
            return False
        self.target.copy_from(self.source, source_key, target_key)
        return True

    @cached_property
    def _copier(self) -> ServerCopier | None:
        return ServerCopier.find(self.source.location, self.target.location, self.patience)

    def _has_arrived(self, target_key: str, entry: FileEntry) -> bool:
        """Tell whether a copy is there, whatever the server said; raises when it has another size."""
        try:
            found = self.target.size_bytes(target_key)
        except MissingError:
            return False
        if found != entry.size_bytes:
            raise CorruptCheckpointError(
                f"{self.target.place(target_key)} was copied with {found:,} bytes, its manifest says "
                f"{entry.size_bytes:,}. Delete it there, and fork again."
            )
        return True

    def _by(self, copier: ServerCopier, source_key: str, size_bytes: int, target_key: str) -> bool:
        try:
            copier.copy(self.source.place(source_key), self.target.place(target_key), size_bytes)
        except RemoteAccessError:
            raise
        except RemoteError:
            # This server does not copy so; what is wrong otherwise, the next way will say.
            return False
        return True


def fork_between(
    source_objects: Objects,
    source: RemoteCheckpoint,
    target_objects: Objects,
    destination: ModelRef,
    *,
    newest: RemoteCheckpoint | None,
    patience: Patience,
    progress: Progress | None = None,
    **asked: Unpack[Asked],
) -> Copied:
    """Begin a model in a bucket with a checkpoint of a bucket, at the same step.

    `newest` is the destination's newest checkpoint. The same fork repeated does nothing; any other into a model
    that has checkpoints raises `DestinationNotEmptyError`.
    """
    began = time.monotonic()
    same_place = source_objects.location == target_objects.location
    remote = None if same_place else str(source_objects.location)
    hop = lineage.hop_from(source.ref, source.digest, remote=remote, **asked)
    meter = Meter(source.size_bytes, progress)
    copier = Copier(source_objects, target_objects, meter, patience)

    def describe() -> Manifest:
        return source.manifest if not source.is_foreign else _with_digests(source_objects, source, copier)

    def put_file(entry: FileEntry, key: str) -> None:
        copier.copy(f"{source.key}/{entry.path}", entry, key)

    manifest, repeated = _begin(target_objects, destination, hop, newest=newest, describe=describe, put_file=put_file)
    url = str(target_objects.place(checkpoint_key(manifest.ref)))
    return Copied(
        manifest=manifest,
        url=url,
        repeated=repeated,
        copied_bytes=copier.copied_bytes,
        streamed_bytes=copier.streamed_bytes,
        seconds=time.monotonic() - began,
    )


def fork_from_disk(
    source: Checkpoint,
    objects: Objects,
    destination: ModelRef,
    *,
    newest: RemoteCheckpoint | None,
    progress: Progress | None = None,
    **asked: Unpack[Asked],
) -> Copied:
    """Begin a model in a bucket with a checkpoint of this disk; the rules are those of a fork between buckets."""
    began = time.monotonic()
    hop = lineage.hop_from(source.ref, source.digest, **asked)
    meter = Meter(source.manifest.size_bytes, progress)

    def put_file(entry: FileEntry, key: str) -> None:
        transfer.send(objects, key, source.path / entry.path, entry, meter)

    manifest, repeated = _begin(
        objects, destination, hop, newest=newest, describe=lambda: source.manifest, put_file=put_file
    )
    url = str(objects.place(checkpoint_key(manifest.ref)))
    return Copied(
        manifest=manifest,
        url=url,
        repeated=repeated,
        copied_bytes=0,
        streamed_bytes=meter.moved_bytes,
        seconds=time.monotonic() - began,
    )


def _begin(
    objects: Objects,
    destination: ModelRef,
    hop: Hop,
    *,
    newest: RemoteCheckpoint | None,
    describe: Callable[[], Manifest],
    put_file: PutFile,
) -> tuple[Manifest, bool]:
    """Write the fork, unless it is there; gives its manifest, and whether it was there."""
    if newest:
        _require_same_fork(newest, destination, hop, objects)
        return newest.manifest, True
    manifest, content = _adopted(objects, forked_manifest(describe(), hop, destination.at(hop.step)))
    write(objects, manifest, content, put_file)
    return manifest, False


def _require_same_fork(newest: RemoteCheckpoint, destination: ModelRef, hop: Hop, objects: Objects) -> None:
    forks = newest.manifest.ancestry
    if not (forks and lineage.is_same_fork(forks[-1], hop)):
        raise DestinationNotEmptyError(
            f"{destination} cannot be forked into: it has step {newest.ref.step} in {objects.location}. "
            "Choose a new name, or delete its checkpoints there first."
        )


def _adopted(objects: Objects, manifest: Manifest) -> tuple[Manifest, bytes]:
    """Take the manifest that an earlier attempt at the same fork claimed the step with, so that it is completed."""
    there = objects.find(claim_key(manifest.ref))
    if there is not None:
        begun = read_manifest(there, where=str(objects.place(claim_key(manifest.ref))))
        if (begun.files, begun.parent, begun.ancestry) == (manifest.files, manifest.parent, manifest.ancestry):
            return begun, there
    return manifest, manifest.to_bytes()


def _with_digests(objects: Objects, source: RemoteCheckpoint, copier: Copier) -> Manifest:
    """Read a foreign checkpoint once, for nobody wrote its digests down."""
    entries: list[FileEntry] = []
    for file in source.files:
        digest = transfer.digest_of(objects, f"{source.key}/{file.name}", file.size_bytes)
        entries.append(FileEntry(path=file.name, size_bytes=file.size_bytes, blake3=digest))
        copier.streamed_bytes += file.size_bytes
    return source.manifest.model_copy(update={"files": tuple(entries)})
