"""Stage and commit: a checkpoint is there as a whole or not at all, and never changes again."""

from pathlib import Path

import pytest

from art.errors import CheckpointExistsError, CheckpointNotFoundError, ModelNotFoundError
from art.format.manifest import digest_bytes
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint, write_foreign


def test_a_commit_can_be_opened_and_verified(store: CheckpointStore, main: ModelRef):
    committed = write_checkpoint(store, main, 500, reward=0.75)

    opened = store.open(main.at(500))

    assert opened == committed
    assert opened.path == store.root / "shop/models/agent-1/checkpoints/0500"
    assert opened.manifest.metrics == {"reward": 0.75}
    store.verify(opened)


def test_a_manifest_lists_every_file_with_size_and_digest(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)

    files = {path.name: path.read_bytes() for path in checkpoint.path.iterdir()}
    manifest = files.pop("checkpoint.json")

    listed = {entry.path: (entry.size_bytes, entry.blake3) for entry in checkpoint.manifest.files}
    assert listed == {name: (len(content), digest_bytes(content)) for name, content in files.items()}
    assert checkpoint.digest == digest_bytes(manifest)


def test_a_stage_is_invisible_until_its_commit(store: CheckpointStore, main: ModelRef):
    with store.stage(main.at(1)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"half")

        assert store.steps(main) == []
        assert store.models() == []
        assert store.newest(main) is None
        with pytest.raises(ModelNotFoundError):
            store.select(main)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_a_stage_leaves_nothing(store: CheckpointStore, main: ModelRef, error: type[BaseException]):
    with pytest.raises(error):
        stop_half_way(store, main, error)

    assert list(store.root.iterdir()) == []


def test_a_stage_without_a_commit_leaves_nothing(store: CheckpointStore, main: ModelRef):
    with store.stage(main.at(1)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"half")

    assert list(store.root.iterdir()) == []


def test_a_commit_that_is_refused_leaves_no_empty_model(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 1)
    before = tree(store.root)
    (source.path / "optimizer.safetensors").unlink()

    with pytest.raises(OSError, match=r"optimizer\.safetensors"):
        store.fork(source, branch)

    assert store.models() == [main]
    assert tree(store.root).keys() == before.keys() - {"shop/models/agent-1/checkpoints/0001/optimizer.safetensors"}


def test_a_commit_never_replaces_a_checkpoint(store: CheckpointStore, main: ModelRef):
    write_checkpoint(store, main, 1)
    before = tree(store.root)

    with pytest.raises(CheckpointExistsError, match=r"shop/agent-1@1 is there already.*it has step 1"):
        write_checkpoint(store, main, 1, reward=0.9)

    assert tree(store.root) == before


def test_a_commit_never_replaces_a_foreign_checkpoint(store: CheckpointStore, main: ModelRef):
    write_foreign(store.root / "shop/models/agent-1/checkpoints/1")
    before = tree(store.root)

    with pytest.raises(CheckpointExistsError):
        write_checkpoint(store, main, 1)

    assert tree(store.root) == before


def test_a_commit_never_replaces_a_copy_made_by_hand(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    original = write_checkpoint(store, main, 1)
    folder = store.root / "shop/models/agent-2/checkpoints"
    folder.mkdir(parents=True)
    original.path.rename(folder / "0001")

    with pytest.raises(CheckpointExistsError, match="copy of shop/agent-1@1 made by hand"):
        write_checkpoint(store, branch, 1)

    assert (folder / "0001" / "checkpoint.json").exists()


def test_committing_the_same_bytes_again_changes_nothing(store: CheckpointStore, main: ModelRef):
    original = write_checkpoint(store, main, 1)
    before = tree(store.root)

    with store.stage(main.at(1)) as stage:
        for entry in original.manifest.files:
            stage.share(entry, original)
        again = stage.commit_copy((original.path / "checkpoint.json").read_bytes())

    assert again == original
    assert tree(store.root) == before


@pytest.mark.parametrize("debris", [{}, {"adapter_model.safetensors": b"torn"}, {"trainer.json": b"{}"}])
def test_debris_at_the_step_gives_way(store: CheckpointStore, main: ModelRef, debris: dict[str, bytes]):
    folder = store.root / "shop/models/agent-1/checkpoints/0001"
    folder.mkdir(parents=True)
    for name, content in debris.items():
        (folder / name).write_bytes(content)

    checkpoint = write_checkpoint(store, main, 1)

    assert {path.name for path in folder.iterdir()} == {*(e.path for e in checkpoint.manifest.files), "checkpoint.json"}


def test_unpadded_debris_gives_way_too(store: CheckpointStore, main: ModelRef):
    (store.root / "shop/models/agent-1/checkpoints/1").mkdir(parents=True)

    write_checkpoint(store, main, 1)

    assert [path.name for path in (store.root / "shop/models/agent-1/checkpoints").iterdir()] == ["0001"]


def test_a_file_in_the_place_of_a_step_is_not_ours_to_replace(store: CheckpointStore, main: ModelRef):
    folder = store.root / "shop/models/agent-1/checkpoints"
    folder.mkdir(parents=True)
    (folder / "0001").write_text("not a folder")

    with pytest.raises(CheckpointExistsError, match="0001 is in its place"):
        write_checkpoint(store, main, 1)

    assert (folder / "0001").read_text() == "not a folder"


def test_a_committed_file_cannot_be_written_to(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)

    assert {path.stat().st_mode & 0o222 for path in checkpoint.path.iterdir()} == {0}


def test_a_checkpoint_continues_its_parent(store: CheckpointStore, main: ModelRef):
    first = write_checkpoint(store, main, 1)

    second = write_checkpoint(store, main, 2, parent=first)

    assert second.manifest.parent is not None
    assert (second.manifest.parent.ref, second.manifest.parent.digest) == (first.ref, first.digest)


def test_deleting_takes_one_checkpoint_and_nothing_else(store: CheckpointStore, main: ModelRef):
    write_checkpoint(store, main, 1)
    second = write_checkpoint(store, main, 2)

    store.delete(second)

    assert store.steps(main) == [1]
    with pytest.raises(CheckpointNotFoundError, match="it has step 1"):
        store.open(main.at(2))
    assert not store.staging.exists()


def test_a_checkpoint_that_was_replaced_meanwhile_is_not_deleted(store: CheckpointStore, main: ModelRef):
    first, second = write_checkpoint(store, main, 1), write_checkpoint(store, main, 2)
    store.rewind(first)
    again = write_checkpoint(store, main, 2, reward=0.9)

    with pytest.raises(CheckpointNotFoundError, match="deleted or replaced meanwhile; it has steps 1, 2"):
        store.delete(second)

    assert store.open(main.at(2)) == again


def test_a_rewind_to_a_checkpoint_that_is_gone_changes_nothing(store: CheckpointStore, main: ModelRef):
    first, second = write_checkpoint(store, main, 1), write_checkpoint(store, main, 2)
    store.delete(first)

    with pytest.raises(CheckpointNotFoundError, match="deleted or replaced meanwhile"):
        store.rewind(first)

    assert store.select(main).checkpoint == second


def test_deleting_the_last_checkpoint_leaves_no_empty_model(store: CheckpointStore, main: ModelRef):
    store.delete(write_checkpoint(store, main, 1))

    assert list(store.root.iterdir()) == []


def test_a_root_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert CheckpointStore("~/art").root == tmp_path / "art"


def stop_half_way(store: CheckpointStore, model: ModelRef, error: type[BaseException]) -> None:
    with store.stage(model.at(1)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"half")
        raise error
