"""Listing a model reads no weights of a checkpoint that another program wrote; what needs their digests reads them."""

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from adapters import adapter_bytes
from art.errors import CheckpointNotFoundError
from art.names import ModelRef
from art.ops.garbage import find_garbage
from art.ops.tree import read_tree
from art.store.store import CheckpointStore

from .conftest import write_foreign

WEIGHTS_BYTES = 16 << 20
MOST_READ_BYTES = 1 << 20
"""The header, and what the kernel reads ahead of it."""

LISTINGS: dict[str, Callable[[CheckpointStore, ModelRef], object]] = {
    "steps": lambda store, model: store.steps(model),
    "open": lambda store, model: store.open(model.at(5)),
    "newest": lambda store, model: store.newest(model),
    "select": lambda store, model: store.select(model),
    "lineage": lambda store, model: list(store.lineage(model.at(5))),
    "segments": lambda store, model: store.segments(model),
    "tree": lambda store, model: read_tree(store, [model]),
    "garbage": lambda store, _: find_garbage(store),
}
READINGS: dict[str, Callable[[CheckpointStore, ModelRef, ModelRef], object]] = {
    "manifest": lambda store, main, _: store.open(main.at(5)).manifest,
    "verify": lambda store, main, _: store.verify(store.open(main.at(5))),
    "fork": lambda store, main, branch: store.fork(store.open(main.at(5)), branch),
}


def cached_bytes(path: Path) -> int:
    """Count the bytes of a file that the kernel holds in memory, however they were read."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        held = (ctypes.c_ubyte * pages)()
        start = ctypes.c_ubyte.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), held
        )
        del start
        assert not failed, os.strerror(ctypes.get_errno())
        return sum(page & 1 for page in held) * mmap.PAGESIZE


@pytest.fixture
def weights(store: CheckpointStore) -> Path:
    """The weights of a foreign checkpoint at step 5, of which the kernel holds nothing."""
    folder = write_foreign(store.root / "shop/models/agent-1/checkpoints/5", bytes(range(256)) * (WEIGHTS_BYTES // 256))
    path = folder / "adapter_model.safetensors"
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_bytes(path):
        pytest.skip("this file system keeps every file in memory")
    return path


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_reads_no_weights(store: CheckpointStore, main: ModelRef, weights: Path, name: str):
    LISTINGS[name](store, main)

    assert cached_bytes(weights) <= MOST_READ_BYTES


@pytest.mark.parametrize("name", READINGS)
def test_what_needs_digests_reads_them(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, weights: Path, name: str
):
    READINGS[name](store, main, branch)

    assert cached_bytes(weights) >= WEIGHTS_BYTES


def test_a_listed_checkpoint_names_the_files_that_lie_there(store: CheckpointStore, main: ModelRef, weights: Path):
    listed = store.open(main.at(5))
    entries = {entry.path: entry for entry in listed.manifest.files}

    assert listed.names == tuple(entries)
    assert listed.sizes == tuple((entry.path, entry.size_bytes) for entry in entries.values())
    assert entries[weights.name].blake3 == blake3(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["rewritten", "replaced", "deleted"])
def test_weights_that_changed_since_they_were_listed_are_not_taken(
    store: CheckpointStore, main: ModelRef, weights: Path, change: str
):
    listed = store.open(main.at(5))
    other = weights.with_name("other")
    other.write_bytes(adapter_bytes(b"other"))
    match change:
        case "rewritten":
            weights.write_bytes(other.read_bytes())
        case "replaced":
            other.replace(weights)
        case _:
            weights.unlink()

    with pytest.raises(CheckpointNotFoundError, match="deleted or replaced meanwhile"):
        _ = listed.manifest
