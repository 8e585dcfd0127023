"""Where else in a root the bytes of a file may lie: in forks, in other steps, and in what was set aside.

Believes no manifest: whoever takes a file compares its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.format.manifest import read_manifest
from art.names import CheckpointRef
from art.store import foreign
from art.store.aside import asides, folders_of
from art.store.checkpoint import find_manifest
from art.store.reading import CheckpointReader
from art.store.stage import Spare

Spares = dict[str, list[Spare]]
"""Files by the digest that a manifest gives them."""


def find_near_spares(reader: CheckpointReader, ref: CheckpointRef) -> Spares:
    """List the files of other models at the step of `ref`: a fork keeps its number, so they are the likeliest."""
    return _by_digest(_files_of(*other, is_near=True) for other in _others(reader, ref) if other[0].step == ref.step)


def find_far_spares(reader: CheckpointReader, ref: CheckpointRef) -> Spares:
    """List the files at every other step of a root. Reads every manifest."""
    return _by_digest(_files_of(*other, is_near=False) for other in _others(reader, ref) if other[0].step != ref.step)


def find_spares(reader: CheckpointReader, step: int, digest: str) -> Iterator[Spare]:
    """Yield the files of a root that may have a digest: at one step first, since a fork keeps its number."""
    for is_near in (True, False):
        folders = (each for each in _folders(reader) if (each[0].step == step) is is_near)
        files = chain.from_iterable(_files_of(*each, is_near=is_near) for each in folders)
        yield from (spare for spare in files if spare.entry.blake3 == digest)


def _by_digest(files: Iterable[Iterable[Spare]]) -> Spares:
    spares: Spares = {}
    for spare in chain.from_iterable(files):
        spares.setdefault(spare.entry.blake3, []).append(spare)
    return spares


def _others(reader: CheckpointReader, ref: CheckpointRef) -> Iterator[tuple[CheckpointRef, Path, str]]:
    return (folder for folder in _folders(reader) if folder[2] != str(ref))


def _folders(reader: CheckpointReader) -> Iterator[tuple[CheckpointRef, Path, str]]:
    for model in reader.models():
        above = reader.root / layout.model_path(model)
        with suppress(ArtError):
            for step, folder in reader.folders(model).items():
                yield model.at(step), folder, str(model.at(step))
            for aside in asides(above):
                for step, folder in folders_of(above, aside).items():
                    yield model.at(step), folder, f"{model.at(step)}, set aside as {aside.id}"


def _files_of(ref: CheckpointRef, folder: Path, holder: str, *, is_near: bool) -> Iterator[Spare]:
    with suppress(ArtError):
        content = None if folder.is_symlink() else find_manifest(folder)
        if content is not None:
            described = read_manifest(content, where=str(folder / layout.MANIFEST))
        elif is_near and not folder.is_symlink():
            described = foreign.describe_with_files(ref, folder)
        else:
            return
        for entry in described.files:
            yield Spare(folder=folder, entry=entry, holder=holder, immutable=content is not None)
