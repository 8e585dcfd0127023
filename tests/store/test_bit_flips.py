"""A bit that turned over on the disk: wherever it is, whoever verifies the checkpoint says in which file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from art.errors import ArtError
from art.format import layout
from art.names import ModelRef
from art.ops.verify import verify
from art.store.store import CheckpointStore

from .conftest import write_run


def flips(content: bytes) -> Iterator[bytes]:
    """Turn one bit of every byte over, another one from byte to byte."""
    for place, byte in enumerate(content):
        yield content[:place] + bytes([byte ^ 1 << place % 8]) + content[place + 1 :]


def is_noticed(store: CheckpointStore, model: ModelRef, name: str) -> bool:
    (report,) = verify(store, [model], step=2, progress=lambda *_: None)
    return report.is_wrong and any(fault.file == name or name in str(fault) for fault in report.faults)


@pytest.mark.parametrize("name", layout.OWN_FILES)
def test_a_bit_that_turned_over_is_noticed_and_its_file_named(
    store: CheckpointStore, main: ModelRef, name: str, record_property: Callable[[str, object], None]
):
    _, second = write_run(store, main, 1, 2)
    path = second.path / name
    content = path.read_bytes()
    path.chmod(0o644)
    missed: list[int] = []

    for place, flipped in enumerate(flips(content)):
        path.write_bytes(flipped)
        if not is_noticed(store, main, name):
            missed.append(place)

    record_property("bits turned over", len(content))
    assert missed == []


def test_a_bit_of_a_manifest_that_turned_over_makes_it_damaged_or_another_checkpoint(
    store: CheckpointStore, main: ModelRef, record_property: Callable[[str, object], None]
):
    _, second, third = write_run(store, main, 1, 2, 3)
    assert third.manifest.parent is not None
    path = second.path / layout.MANIFEST
    content = path.read_bytes()
    path.chmod(0o644)
    seen: list[str | None] = []

    for flipped in flips(content):
        path.write_bytes(flipped)
        with suppress(ArtError):
            seen.append(store.open(second.ref).digest)

    record_property("bits turned over", len(content))
    assert len(seen) < len(content)
    assert third.manifest.parent.digest not in seen, "the child knows its parent by the digest of that manifest"
