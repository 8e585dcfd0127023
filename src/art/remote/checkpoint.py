"""What a step's folder in a bucket is: a checkpoint of ours, a foreign one, or debris. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from art.errors import CorruptCheckpointError, RemoteUnavailableError
from art.format import layout
from art.format.manifest import Manifest, digest_bytes, read_manifest
from art.format.safetensors import LENGTH_BYTES, TensorEntry, read_header
from art.format.selection import Skipped
from art.names import CheckpointRef
from art.remote.errors import BeyondEndError, MissingError
from art.remote.objects import Object, Objects, at_once
from art.store import foreign

HEADER_GUESS_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a checkpoint in a bucket."""

    name: str
    key: str
    """Relative to the remote's prefix."""
    size_bytes: int
    blake3: str | None
    """None for a foreign checkpoint: nobody wrote its digests down."""
    sha256: str | None = None
    """Where the server knows this one."""


@dataclass(frozen=True, kw_only=True)
class RemoteCheckpoint:
    """A checkpoint in a bucket, whose files have not been read yet."""

    ref: CheckpointRef
    key: str
    """Its folder, relative to the remote's prefix."""
    url: str
    manifest: Manifest
    """Of a foreign checkpoint: what its adapter configuration says, without files."""
    content: bytes | None
    """The manifest's own bytes; None for a foreign checkpoint."""
    files: tuple[RemoteFile, ...]

    @property
    def digest(self) -> str | None:
        """Identity: the digest of the manifest's bytes. None for a foreign checkpoint."""
        return None if self.content is None else digest_bytes(self.content)

    @property
    def description(self) -> Manifest:
        """What is told of it without reading weights: its manifest, for that reads none here."""
        return self.manifest

    @property
    def is_foreign(self) -> bool:
        return self.content is None

    @property
    def where(self) -> str:
        """Its URL."""
        return self.url

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its files, without the manifest."""
        return tuple(file.name for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def look(objects: Objects, ref: CheckpointRef, key: str) -> RemoteCheckpoint | Skipped:
    """Open a step's folder with one request where it is ours; raises `CorruptCheckpointError` for a torn manifest."""
    manifest_key = f"{key}/{layout.MANIFEST}"
    content = objects.find(manifest_key)
    if content is None:
        files = objects.files(key)
        if layout.MANIFEST not in files:
            return _look_foreign(objects, ref, key, files)
        # It was written between the two requests; a server that lists what it does not have is no server to trust.
        content = _read_listed(objects, manifest_key)
    content, manifest = _parsed(objects, manifest_key, content)
    if manifest.ref != ref:
        return Skipped(ref.step, f"it is a copy of {manifest.ref} made by hand; use `art fork` to make one")
    files = tuple(
        RemoteFile(name=entry.path, key=f"{key}/{entry.path}", size_bytes=entry.size_bytes, blake3=entry.blake3)
        for entry in manifest.files
    )
    return RemoteCheckpoint(
        ref=ref, key=key, url=str(objects.place(key)), manifest=manifest, content=content, files=files
    )


def _parsed(objects: Objects, key: str, content: bytes) -> tuple[bytes, Manifest]:
    where = str(objects.place(key))
    try:
        return content, read_manifest(content, where=where)
    except CorruptCheckpointError:
        # It may have been spoiled on the way only.
        again = objects.find(key) or content
        return again, read_manifest(again, where=where)


def _read_listed(objects: Objects, key: str) -> bytes:
    try:
        return objects.read(key)
    except MissingError as error:
        raise RemoteUnavailableError(
            f"{objects.place(key)} is listed and cannot be read; nothing was changed. Try again."
        ) from error


def _look_foreign(
    objects: Objects, ref: CheckpointRef, key: str, files: dict[str, Object]
) -> RemoteCheckpoint | Skipped:
    for name in foreign.FILES:
        if name not in files:
            return Skipped(ref.step, f"it has neither {layout.MANIFEST} nor {name}")
    if objects.find(str(layout.claim_path(ref))) is not None:
        return Skipped(ref.step, "its push has not finished; push it again to complete it")
    try:
        manifest = describe_foreign(objects, ref, files)
    except CorruptCheckpointError as error:
        return Skipped(ref.step, str(error))
    except MissingError:
        return Skipped(ref.step, "it was being deleted")
    foreign.require_foreign(files, where=str(objects.place(key)))
    remote_files = tuple(
        RemoteFile(name=name, key=f"{key}/{name}", size_bytes=files[name].size_bytes, blake3=None)
        for name in foreign.FILES
    )
    return RemoteCheckpoint(
        ref=ref, key=key, url=str(objects.place(key)), manifest=manifest, content=None, files=remote_files
    )


def describe_foreign(objects: Objects, ref: CheckpointRef, files: dict[str, Object]) -> Manifest:
    """Read what a foreign checkpoint says of itself; raises `CorruptCheckpointError` when it is not whole."""
    config = foreign.read_config(objects.read(files[layout.ADAPTER_CONFIG].key))
    weights = files[layout.ADAPTER_WEIGHTS]
    if weights.size_bytes == 0:
        raise CorruptCheckpointError(f"its {layout.ADAPTER_WEIGHTS} is empty")
    start = objects.read_start(weights.key, min(HEADER_GUESS_BYTES, weights.size_bytes))
    _read_tensors(objects, weights.key, weights.size_bytes, start, where=f"its {layout.ADAPTER_WEIGHTS}")
    return foreign.manifest_of(ref, config, [], written_s=weights.modified.timestamp())


def read_adapter(objects: Objects, checkpoint: RemoteCheckpoint) -> tuple[bytes, Mapping[str, TensorEntry]]:
    """Read an adapter's configuration, and the header of its weights; raises `CorruptCheckpointError`."""
    files = {file.name: file for file in checkpoint.files}
    weights = files[layout.ADAPTER_WEIGHTS]
    where = str(objects.place(weights.key))
    _require_header(weights.size_bytes, where)
    try:
        config, start = at_once(
            partial(objects.read, files[layout.ADAPTER_CONFIG].key),
            partial(objects.read_start, weights.key, min(HEADER_GUESS_BYTES, weights.size_bytes)),
        )
        return config, _read_tensors(objects, weights.key, weights.size_bytes, start, where=where)
    except (MissingError, BeyondEndError) as error:
        raise CorruptCheckpointError(f"{checkpoint.url} is not whole: {error}") from error


def _read_tensors(
    objects: Objects, key: str, size_bytes: int, start: bytes, *, where: str
) -> Mapping[str, TensorEntry]:
    """Read which tensors an object of a known length and beginning holds, by its header alone."""
    _require_header(size_bytes, where)
    given = 0

    def read(wanted_bytes: int) -> bytes:
        nonlocal given
        given += wanted_bytes
        block = start if given <= len(start) else objects.read_start(key, given)
        return block[given - wanted_bytes : given]

    return read_header(size_bytes, read, where=where)


def _require_header(size_bytes: int, where: str) -> None:
    if size_bytes < LENGTH_BYTES:
        raise CorruptCheckpointError(f"{where} has no safetensors header")
