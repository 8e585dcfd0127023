"""A damaged checkpoint of a bucket made whole where it lies: its damaged files are kept beside it, then others come.

A bucket has no rename, so this is done file by file. Killed anywhere it leaves a checkpoint that is damaged still, or
whole, and never one that looks whole and is not. Who asks has compared every source with its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from art.errors import ConflictError
from art.format import layout
from art.format.manifest import FileEntry, digest_bytes, read_manifest
from art.names import CheckpointRef
from art.remote import transfer
from art.remote.aside import Asides
from art.remote.copier import Copier
from art.remote.errors import TakenError
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.transfer import Meter, Progress
from art.remote.write import create_or_same, write_file
from art.store.aside import SetAside


@dataclass(frozen=True)
class Elsewhere:
    """A file in this bucket or another one."""

    objects: Objects
    key: str


Source = Path | Elsewhere
"""Where the bytes of a file are."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """What makes a checkpoint whole."""

    ref: CheckpointRef
    key: str
    """Its folder."""
    content: bytes
    """The manifest that it had, or has."""
    sources: Mapping[str, Source]
    """By the paths of its wrong files, without the manifest."""
    problem: str


def mend(
    objects: Objects, asides: Asides, wanted: Mend, *, patience: Patience, progress: Progress | None = None
) -> SetAside | None:
    """Keep what is damaged, then bring each file; None where nothing was there to keep.

    Raises `ConflictError` when another checkpoint has the place by now.
    """
    entries = {entry.path: entry for entry in read_manifest(wanted.content, where=str(wanted.ref)).files}
    manifest_key = f"{wanted.key}/{layout.MANIFEST}"
    manifest_now, version = objects.read_versioned(manifest_key)
    _require_claim(objects, wanted)
    is_altered = manifest_now != wanted.content
    listed = objects.files_below(wanted.key)
    wrong = {*wanted.sources, *((layout.MANIFEST,) if is_altered else ())}
    kept = [listed[path] for path in sorted(wrong) if path in listed]
    aside = asides.keep(wanted.ref, wanted.key, kept, wanted.problem) if kept else None
    _require_claim(objects, wanted)
    meter = Meter(sum(entries[path].size_bytes for path in wanted.sources), progress)
    for path, source in wanted.sources.items():
        objects.delete([f"{wanted.key}/{path}"])
        write_file(objects, wanted.key, entries[path], _put_from(source, objects, meter, patience))
    if is_altered:
        _put_manifest(objects, manifest_key, wanted.content, version)
    return aside


def _put_from(source: Source, objects: Objects, meter: Meter, patience: Patience) -> Callable[[FileEntry, str], None]:
    if isinstance(source, Path):
        return lambda entry, key: transfer.send(objects, key, source, entry, meter)
    copier = Copier(source.objects, objects, meter, patience)
    return lambda entry, key: copier.copy(source.key, entry, key)


def _require_claim(objects: Objects, wanted: Mend) -> None:
    claim = objects.find(str(layout.claim_path(wanted.ref)))
    if claim is None:
        create_or_same(objects, str(layout.claim_path(wanted.ref)), wanted.content)
    elif digest_bytes(claim) != digest_bytes(wanted.content):
        raise ConflictError(
            f"{objects.place(str(layout.claim_path(wanted.ref)))} belongs to another checkpoint than the one that is "
            f"repaired; nothing was changed. Delete {wanted.ref} there, and push it again."
        )


def _put_manifest(objects: Objects, key: str, content: bytes, version: str | None) -> None:
    try:
        if version is None:
            create_or_same(objects, key, content)
        else:
            objects.replace(key, content, version)
    except TakenError as error:
        if objects.find(key) != content:
            raise ConflictError(f"{objects.place(key)} was replaced meanwhile; what was damaged is kept.") from error
