"""Checkpoints of ours that lost their manifest, and digests in a forked child."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import CorruptCheckpointError
from art.format.manifest import digest_bytes
from art.names import ModelRef
from art.remote.transfer import checked
from art.store import disk
from art.store.store import CheckpointStore

from .conftest import write_run


@pytest.mark.parametrize("gone", [[], ["trainer.json"], ["optimizer.safetensors"]], ids=str)
def test_a_checkpoint_of_ours_without_its_manifest_is_damaged_and_not_foreign(
    store: CheckpointStore, main: ModelRef, gone: list[str]
):
    _, second = write_run(store, main, 1, 2)
    for name in ("checkpoint.json", *gone):
        (second.path / name).unlink()

    for use in (lambda: store.open(main.at(2)), lambda: store.select(main)):
        with pytest.raises(CorruptCheckpointError, match=r"0002 has .* lost its manifest"):
            use()

    assert store.steps(main) == [1, 2]
    assert store.open(main.at(1)).ref.step == 1
    assert store.collect() == []


def digest_on_its_way(path: Path) -> str:
    """What a push and a copy do with the blocks that pass."""
    content = path.read_bytes()
    return digest_bytes(b"".join(checked([content], digest_bytes(content), str(path))))


@pytest.mark.parametrize("digest", [disk.digest, digest_on_its_way], ids=["of a file", "of what passes"])
def test_a_forked_child_takes_digests(tmp_path: Path, digest: Callable[[Path], str]):
    path = tmp_path / "large"
    path.write_bytes(bytes(8 * 1024**2))
    expected = disk.digest(path)

    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(digest, [path]).get(timeout=20)

    assert found == expected
