"""Forks on real file systems: bytes are shared where the file system can, and nothing costs room twice."""

import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from art.names import ModelRef
from art.ops.disk_use import read_disk_use
from art.ops.on_disk import OnDisk
from art.ops.repair import repair
from art.ops.tree import read_tree
from art.ops.verify import check
from art.store import disk
from art.store.checkpoint import Checkpoint, stamp
from art.store.sharing import Sharing, share, take_out
from art.store.store import CheckpointStore
from filesystems import Mount

from .conftest import safetensors, tree, write_checkpoint

MIB = 1 << 20


@pytest.fixture
def mounted_store(mount: Mount) -> CheckpointStore:
    return CheckpointStore(mount.path / uuid.uuid4().hex)


def test_a_fork_shares_its_bytes(mounted_store: CheckpointStore, mount: Mount, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(mounted_store, main, 5)
    expected = Sharing.REFLINK if mount.kind.reflinks else Sharing.HARD_LINK

    forked = mounted_store.fork(source, branch)

    assert forked.sharing == {expected}
    assert forked.copied_bytes == 0


def test_sharing_a_large_file_takes_no_room(mount: Mount):
    folder = mount.path / uuid.uuid4().hex
    folder.mkdir()
    original = folder / "original"
    original.write_bytes(safetensors(os.urandom(32 * MIB)))
    disk.protect(original)
    before = mount.used_bytes()

    share(original, folder / "shared")

    assert mount.used_bytes() - before < MIB
    assert (folder / "shared").read_bytes() == original.read_bytes()


def test_a_plan_tells_what_the_disk_gets_back(
    mounted_store: CheckpointStore, mount: Mount, main: ModelRef, branch: ModelRef
):
    for step in (1, 2):
        commit_large_checkpoint(mounted_store, main, step)
    refs = [main.at(1), main.at(2), mounted_store.fork(mounted_store.open(main.at(1)), branch).checkpoint.ref]
    place, before = OnDisk(mounted_store), mount.used_bytes()

    used = {use.model: use.kept_bytes for use in read_disk_use(mounted_store, read_tree(place, [main, branch]))}
    alone, together = place.freed_bytes(refs[:1]), sum(place.freed_bytes(refs).values())
    for ref in refs:
        mounted_store.delete_step(ref, stamp(mounted_store.open(ref).path))

    assert alone[refs[0]] < MIB
    assert 16 * MIB <= sum(used.values()) < 17 * MIB
    assert used[branch] < MIB
    assert 16 * MIB <= together < 17 * MIB
    assert in_the_end(lambda: abs(before - mount.used_bytes() - together) < MIB)


def test_a_clone_outside_the_root_keeps_its_bytes(mounted_store: CheckpointStore, mount: Mount, main: ModelRef):
    if not mount.kind.reflinks:
        pytest.skip("this file system has no clones")
    weights = commit_large_checkpoint(mounted_store, main, 1).path / "weights.bin"
    taken, place = mount.path / uuid.uuid4().hex, OnDisk(mounted_store)

    take_out(weights, taken)
    freed = place.freed_bytes([main.at(1)])[main.at(1)]
    taken.unlink()

    assert freed < MIB
    assert in_the_end(lambda: place.freed_bytes([main.at(1)])[main.at(1)] >= 8 * MIB)


def test_a_full_device_leaves_nothing_of_a_checkpoint(mounted_store: CheckpointStore, main: ModelRef, mount: Mount):
    write_checkpoint(mounted_store, main, 1)
    filler = mount.path / "filler"

    fill(filler)
    with pytest.raises(OSError, match="No space left"):
        write_large_checkpoint(mounted_store, main, 2)
    filler.unlink()

    assert mounted_store.steps(main) == [1]
    assert write_checkpoint(mounted_store, main, 2)


def test_deleting_works_on_a_full_device(mounted_store: CheckpointStore, main: ModelRef, mount: Mount):
    checkpoint = write_checkpoint(mounted_store, main, 1)
    torn = checkpoint.path.with_name("0002")
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    filler = mount.path / "filler"
    filler.mkdir()

    fill_to_the_last_entry(filler)
    try:
        mounted_store.delete(checkpoint)
        collected = mounted_store.collect()
    finally:
        shutil.rmtree(filler)

    assert collected == [torn]
    assert mounted_store.models() == []


def test_a_repair_on_a_full_device_leaves_what_is_damaged_and_works_once_there_is_room(
    mounted_store: CheckpointStore, main: ModelRef, branch: ModelRef, mount: Mount
):
    whole = write_checkpoint(mounted_store, main, 1)
    mounted_store.fork(whole, branch)
    weights = whole.path / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + b"x")
    damaged = tree(whole.path)
    filler = mount.path / "filler"
    filler.mkdir()

    fill_to_the_last_entry(filler)
    try:
        report = repair(mounted_store, check(mounted_store, main.at(1)), progress=lambda *_: None)
        left = tree(whole.path), mounted_store.collect()
    finally:
        shutil.rmtree(filler)

    assert report.is_damaged
    assert left == (damaged, [])
    assert not mounted_store.staging.exists()
    assert repair(mounted_store, check(mounted_store, main.at(1)), progress=lambda *_: None).is_repaired
    mounted_store.verify(mounted_store.open(main.at(1)))


def write_large_checkpoint(store: CheckpointStore, model: ModelRef, step: int) -> None:
    with store.stage(model.at(step)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(os.urandom(8 * MIB))


def in_the_end(is_so: Callable[[], bool]) -> bool:
    """Wait for what a file system does in the background: XFS lets go of the bytes of a file after it is gone."""
    end_s = time.monotonic() + 10
    while not is_so() and time.monotonic() < end_s:
        os.sync()
        time.sleep(0.05)
    return is_so()


def commit_large_checkpoint(store: CheckpointStore, model: ModelRef, step: int) -> Checkpoint:
    with store.stage(model.at(step)) as stage:
        (stage.path / "weights.bin").write_bytes(os.urandom(8 * MIB))
        return stage.commit(parent=store.newest(model))


def fill(path: Path) -> None:
    """Write until the device holds no more."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(MIB))


def fill_to_the_last_entry(folder: Path) -> None:
    """Write until the device has room for no byte and no further folder, as far as a thousand of them tell."""
    fill(folder / "bytes")
    with suppress(OSError):
        for number in range(1000):
            (folder / f"{number}.txt").write_bytes(b"x" * 512)
    with suppress(OSError):
        for number in range(1000):
            (folder / str(number)).mkdir()
