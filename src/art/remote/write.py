"""How a checkpoint gets into a bucket: claim, files, manifest, in this order and only where nothing else is.

Put-if-absent is all that a bucket offers. The claim is the manifest itself, put first and if absent under a key
of its own; whoever put it owns the step for good, so two writers never mix their files, however large these
are and whichever way they are written. `checkpoint.json` comes last and makes the checkpoint one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from art.errors import CheckpointExistsError, RemoteUnavailableError
from art.format import layout
from art.format.manifest import FileEntry, Manifest, digest_bytes, read_manifest
from art.names import CheckpointRef
from art.remote import transfer
from art.remote.errors import MissingError, TakenError
from art.remote.objects import Object, Objects, at_once

FILES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a write did."""

    manifest: Manifest
    digest: str
    url: str
    sent_bytes: int
    there_bytes: int
    """Files that an earlier, broken attempt had written, or all of them when there was nothing to do."""


PutFile = Callable[[FileEntry, str], None]
"""Writes one file under a key where nothing lies; may raise `TakenError` when something does now."""


class FileSource(Protocol):
    """Where the files of a checkpoint come from; asked by several threads."""

    def put(self, entry: FileEntry, key: str) -> None:
        """Write one, as `PutFile` does."""
        ...

    def needs_memory(self, entry: FileEntry) -> bool:
        """Tell whether so much of one passes through this process that it is written alone."""
        ...


@dataclass(frozen=True, kw_only=True)
class StepBefore:
    """What lies at a step before it is written."""

    manifest: bytes | None = None
    claim: bytes | None = None
    """Not asked for where there is a manifest."""
    files: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """By their paths; neither asked for there."""


def read_step(objects: Objects, ref: CheckpointRef) -> StepBefore:
    """Read what lies at a step: its manifest, or the claim and the files of one that is not whole."""
    folder = str(layout.checkpoint_path(ref))
    manifest = objects.find(f"{folder}/{layout.MANIFEST}")
    if manifest is not None:
        return StepBefore(manifest=manifest)
    claim, files = at_once(lambda: find_claim(objects, ref), lambda: objects.files_below(folder))
    return StepBefore(claim=claim, files=files)


def find_claim(objects: Objects, ref: CheckpointRef) -> bytes | None:
    """Read the manifest that a write claimed a step with."""
    return objects.find(str(layout.claim_path(ref)))


def write(
    objects: Objects, manifest: Manifest, content: bytes, source: FileSource, *, before: StepBefore | None = None
) -> Written:
    """Write a checkpoint, or the rest of it; raises `CheckpointExistsError` naming the key that something else has.

    `before` is what `read_step` read a moment ago, where the caller has.
    """
    ref, digest = manifest.ref, digest_bytes(content)
    folder = str(layout.checkpoint_path(ref))
    manifest_key, url = f"{folder}/{layout.MANIFEST}", str(objects.place(folder))
    before = before or read_step(objects, ref)
    if before.manifest is not None:
        _require_same_manifest(objects, manifest_key, before.manifest, digest)
        return Written(manifest=manifest, digest=digest, url=url, sent_bytes=0, there_bytes=manifest.size_bytes)
    begun = require_free(objects, ref, digest, before.claim)
    # Before the claim: a step that cannot be written stays as it is, claimed by nobody.
    written_paths = _require_same_files(objects, manifest, before.files)
    if not begun:
        create_or_same(objects, str(layout.claim_path(ref)), content)
    missing = [entry for entry in manifest.files if entry.path not in written_paths]
    write_files(objects, folder, missing, source)
    create_or_same(objects, manifest_key, content)
    sent = sum(entry.size_bytes for entry in missing)
    return Written(manifest=manifest, digest=digest, url=url, sent_bytes=sent, there_bytes=manifest.size_bytes - sent)


def create_or_same(objects: Objects, key: str, content: bytes) -> None:
    """Write a small object; one that is there already with the same bytes counts as written.

    So a write whose answer was lost heals itself. Raises `CheckpointExistsError` for other bytes.
    """
    for last in (False, True):
        try:
            objects.create(key, content)
        except RemoteUnavailableError:
            # Whether it was written is what the lost answer would have said.
            if objects.find(key) == content:
                return
            if last:
                raise
        except TakenError:
            stored_content = objects.find(key)
            if stored_content == content:
                return
            # It may have been deleted between the two requests, or a conditional write beside ours was undone.
            if last or stored_content is not None:
                raise _taken(objects, key) from None
        else:
            return


def require_free(objects: Objects, ref: CheckpointRef, digest: str, claim: bytes | None) -> bool:
    """Tell whether this very checkpoint was begun before; raises `CheckpointExistsError` when another one was."""
    if claim is None:
        return False
    key = str(layout.claim_path(ref))
    if digest_bytes(claim) != digest:
        owner = read_manifest(claim, where=str(objects.place(key)))
        raise CheckpointExistsError(
            f"{ref} is being written by another push, or one that broke off: {objects.place(key)} belongs to the "
            f"checkpoint of {owner.created_at}. Push that one again, or delete {ref} there first."
        )
    return True


def _require_same_files(objects: Objects, manifest: Manifest, objects_by_path: Mapping[str, Object]) -> set[str]:
    """Name the files that are there already with the right bytes; raises when one has others."""
    entries = [entry for entry in manifest.files if entry.path in objects_by_path]
    for entry in entries:
        _require_same_file(objects, objects_by_path[entry.path], entry)
    return {entry.path for entry in entries}


def write_files(objects: Objects, folder: str, entries: Iterable[FileEntry], source: FileSource) -> None:
    """Write the files of a folder that is ours: several at once, and what needs memory one after the other."""
    alone, others = list[FileEntry](), list[FileEntry]()
    for entry in entries:
        (alone if source.needs_memory(entry) else others).append(entry)
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="art-write") as pool:
        for _ in pool.map(lambda entry: write_file(objects, folder, entry, source.put), others):
            pass
    for entry in alone:
        write_file(objects, folder, entry, source.put)


def write_file(objects: Objects, folder: str, entry: FileEntry, put_file: PutFile) -> None:
    """Write one file of a folder that is ours; one that is there already with the same bytes counts as written."""
    for last in (False, True):
        try:
            put_file(entry, f"{folder}/{entry.path}")
        except (TakenError, RemoteUnavailableError) as error:
            # Another writer of the same checkpoint, or ourselves: the answer to our request was lost. The client
            # library does not repeat a write that timed out; we may, for we know what is to be there.
            stored_object = objects.files_below(folder).get(entry.path)
            if stored_object is not None:
                _require_same_file(objects, stored_object, entry)
                return
            if last and isinstance(error, RemoteUnavailableError):
                raise
            if last:
                raise _vanished(objects, f"{folder}/{entry.path}") from error
        else:
            return


def _vanished(objects: Objects, key: str) -> RemoteUnavailableError:
    return RemoteUnavailableError(f"{objects.place(key)} was there and is gone; nothing was committed. Try again.")


def _require_same_manifest(objects: Objects, key: str, written_manifest: bytes, digest: str) -> None:
    if digest_bytes(written_manifest) != digest:
        raise _taken(objects, key)


def _require_same_file(objects: Objects, stored_object: Object, entry: FileEntry) -> None:
    try:
        same = stored_object.size_bytes == entry.size_bytes and (
            transfer.digest_of(objects, stored_object.key, stored_object.size_bytes) == entry.blake3
        )
    except MissingError:
        same = False
    if not same:
        raise _taken(objects, stored_object.key)


def _taken(objects: Objects, key: str) -> CheckpointExistsError:
    return CheckpointExistsError(
        f"{objects.place(key)} is there already, with other contents; nothing was overwritten. "
        "Push under another model's name, or delete that checkpoint first."
    )
