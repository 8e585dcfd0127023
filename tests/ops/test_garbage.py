"""What deleting frees: bytes that lie on the disk once are counted once, and only when nothing else holds them."""

import os
from pathlib import Path

import pytest

from art.names import ModelRef
from art.ops.garbage import collect_garbage, find_garbage, freed_bytes
from art.store.extents import held_elsewhere_bytes
from art.store.store import CheckpointStore
from store.conftest import write_run

MAIN = ModelRef("shop", "agent-1")
CONTENT = os.urandom(40_000)


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with path.open("rb") as file:
        os.fsync(file.fileno())  # so that its blocks are allocated
    return path


def test_a_file_with_a_link_elsewhere_frees_nothing(tmp_path: Path):
    kept = write(tmp_path / "kept/weights")
    (tmp_path / "going").mkdir()
    (tmp_path / "going/weights").hardlink_to(kept)

    assert freed_bytes([tmp_path / "going"], root=tmp_path) == {tmp_path / "going": 0}


def test_a_file_whose_every_link_goes_frees_its_bytes_once(tmp_path: Path):
    first = write(tmp_path / "a/weights")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/weights").hardlink_to(first)

    freed = freed_bytes([tmp_path / "a", tmp_path / "b"], root=tmp_path)

    assert sum(freed.values()) == first.stat().st_blocks * 512 >= len(CONTENT)


@pytest.mark.parametrize(
    ("held", "staying", "kept"),
    [
        ([("a", (0, 10)), ("b", (0, 10))], [], {"a": 0, "b": 10}),
        ([("a", (0, 10)), ("a", (0, 10))], [], {"a": 10}),
        ([("a", (0, 10))], [], {"a": 10}),
        ([("a", (0, 10)), ("b", (4, 14))], [(8, 20)], {"a": 6, "b": 10}),
        ([("a", (0, 10)), ("b", (0, 4)), ("b", (6, 10))], [(2, 3)], {"a": 3, "b": 8}),
        ([("a", (0, 5)), ("b", (5, 10))], [(0, 10), (0, 10)], {"a": 5, "b": 5}),
    ],
    ids=["the later one", "a clone of its own", "a snapshot", "overlapping", "a hole", "held twice"],
)
def test_shared_bytes_go_with_their_last_holder(
    held: list[tuple[str, tuple[int, int]]], staying: list[tuple[int, int]], kept: dict[str, int]
):
    assert held_elsewhere_bytes(held, staying) == kept


@pytest.fixture
def store_with_debris(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "root")
    write_run(store, MAIN, 1)
    write(store.root / "shop/models/agent-1/checkpoints/0002/adapter_model.safetensors")
    write(store.staging / "abandoned/optimizer.safetensors")
    return store


def test_a_clean_up_tells_what_it_frees_before_and_after(store_with_debris: CheckpointStore):
    listed, deleted = find_garbage(store_with_debris), collect_garbage(store_with_debris)

    assert listed.freed_bytes == deleted.freed_bytes > 0
    assert [folder.path for folder in listed.debris] == [folder.path for folder in deleted.debris]
    assert find_garbage(store_with_debris).debris == ()
