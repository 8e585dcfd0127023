"""Objects from one bucket, or one place of it, to another: by the server where it can, else through this machine.

Knows objects and digests; knows nothing of models or steps.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

from art.errors import CorruptCheckpointError, RemoteAccessError, RemoteError
from art.format.manifest import FileEntry
from art.remote import server_copy, transfer
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.errors import MissingError
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.server_copy import ServerCopier
from art.remote.transfer import Meter

MAX_COPY_BYTES = 5 * 1024**3
"""What S3 copies with one request."""


class Copier:
    """Moves objects from one place to another by the cheapest way that works, and counts which it was."""

    def __init__(self, source: Objects, target: Objects, meter: Meter, patience: Patience) -> None:
        self.source, self.target, self.meter = source, target, meter
        self.patience = patience
        self.copied_bytes = 0
        self.streamed_bytes = 0
        self._counting = threading.Lock()

    def copy(self, source_key: str, entry: FileEntry, target_key: str) -> None:
        """Copy one file to where nothing lies; raises `CorruptCheckpointError` for wrong bytes that pass here."""
        try:
            if self._on_the_server(source_key, entry.size_bytes, target_key) and self._has_arrived(target_key, entry):
                with self._counting:
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
        with self._counting:
            self.streamed_bytes += entry.size_bytes

    def needs_memory(self, size_bytes: int) -> bool:
        """Tell whether a file is so large that only one at a time may pass through this machine, and may have to."""
        is_copied = self.target.shares_client(self.source) and not (
            self.source.location.is_s3 and size_bytes > MAX_COPY_BYTES
        )
        return size_bytes > transfer.SMALL_BYTES and not is_copied

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
            size_bytes = self.target.size_bytes(target_key)
        except MissingError:
            return False
        if size_bytes != entry.size_bytes:
            raise CorruptCheckpointError(
                f"{self.target.place(target_key)} was copied with {size_bytes:,} bytes, its manifest says "
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


@dataclass(frozen=True)
class FolderInBucket:
    """The files of a checkpoint below a key of a bucket, for `write`."""

    copier: Copier
    key: str

    def put(self, entry: FileEntry, key: str) -> None:
        self.copier.copy(f"{self.key}/{entry.path}", entry, key)

    def needs_memory(self, entry: FileEntry) -> bool:
        return self.copier.needs_memory(entry.size_bytes)


def entries_of(objects: Objects, checkpoint: RemoteCheckpoint) -> tuple[FileEntry, ...]:
    """Give the files of a checkpoint with their digests; a foreign one is read once, for nobody wrote them down."""
    if not checkpoint.is_foreign:
        return checkpoint.manifest.files
    return tuple(
        FileEntry(
            path=file.name,
            size_bytes=file.size_bytes,
            blake3=transfer.digest_of(objects, file.key, file.size_bytes, sha256=file.sha256),
        )
        for file in checkpoint.files
    )
