"""Collecting debris: what no reader counts, and nothing that anybody holds or wrote."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import CheckpointExistsError, DestinationNotEmptyError
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import adapter_config, safetensors, tree, write_checkpoint, write_foreign, write_run


def test_collecting_a_clean_root_changes_nothing(store: CheckpointStore, main: ModelRef):
    first, *_ = write_run(store, main, 1, 2)
    store.rewind(first)
    write_foreign(store.root / "shop/models/agent-3/checkpoints/1")
    before = tree(store.root)

    assert store.debris() == []
    assert store.collect() == []
    assert tree(store.root) == before


def test_collecting_an_empty_root_makes_nothing(store: CheckpointStore):
    assert store.collect() == []
    assert not store.root.exists()


def test_abandoned_stages_and_torn_steps_are_collected(store: CheckpointStore, main: ModelRef):
    kept = write_checkpoint(store, main, 1)
    torn, abandoned = kept.path.with_name("0002"), store.staging / "abandoned"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    abandoned.mkdir(parents=True)

    assert store.debris() == [torn, abandoned]
    assert store.collect() == [torn, abandoned]
    assert store.debris() == []
    assert store.steps(main) == [1]
    assert not store.staging.exists()


def test_what_a_killed_deletion_left_is_collected(store: CheckpointStore, main: ModelRef):
    first, second = write_run(store, main, 1, 2)
    hidden = second.path.with_name(".deleted-0123")
    second.path.rename(hidden)

    assert store.steps(main) == [1]
    assert store.debris() == [hidden]
    assert store.collect() == [hidden]
    assert [path.name for path in first.path.parent.iterdir()] == ["0001"]


def hf_trainer(folder: Path) -> None:
    for name in ("config.json", "trainer_state.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors(b"weights"))
    (folder / "optimizer.pt").write_bytes(b"moments")


def shards(folder: Path) -> None:
    (folder / "__0_0.distcp").write_bytes(b"shard")
    (folder / ".metadata").write_bytes(b"index")


def half_copied_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(adapter_config())
    (folder / "adapter_model.safetensors").write_bytes(safetensors(b"weights")[:-3])


def ours_without_its_manifest(folder: Path) -> None:
    half_copied_adapter(folder)
    (folder / "trainer.json").write_text("{}")
    (folder / "optimizer.safetensors").write_bytes(safetensors(b"moments"))


def pickled_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(adapter_config())
    (folder / "adapter_model.bin").write_bytes(b"pickle")


def a_note(folder: Path) -> None:
    (folder / "README.md").write_text("why this run failed")


def a_folder_in_it(folder: Path) -> None:
    (folder / "trainer.json").mkdir()
    (folder / "trainer.json/weights.bin").write_bytes(b"weights")


def a_linked_file(folder: Path) -> None:
    (folder / "adapter_model.safetensors").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    "write",
    [
        hf_trainer,
        shards,
        half_copied_adapter,
        ours_without_its_manifest,
        pickled_adapter,
        a_note,
        a_folder_in_it,
        a_linked_file,
    ],
)
def test_what_another_program_may_have_written_is_listed_and_left_alone(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, write: Callable[[Path], None]
):
    kept = write_checkpoint(store, main, 1)
    theirs = kept.path.with_name("0003")
    theirs.mkdir()
    write(theirs)
    before = tree(store.root)

    assert store.debris() == []
    assert store.collect() == []
    assert store.unknown(main) == {3: theirs}
    assert store.steps(main) == [1]
    assert store.select(main).checkpoint == kept
    with pytest.raises(CheckpointExistsError, match="is in its place"):
        write_checkpoint(store, main, 3, parent=kept)
    assert tree(store.root) == before


def test_a_fork_into_a_model_with_an_unknown_folder_is_refused(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    source = write_checkpoint(store, main, 1)
    theirs = store.root / "shop/models/agent-2/checkpoints/0003"
    theirs.mkdir(parents=True)
    hf_trainer(theirs)
    before = tree(store.root)

    with pytest.raises(DestinationNotEmptyError):
        store.fork(source, branch)

    assert tree(store.root) == before


def test_a_step_that_is_a_link_is_left_alone(store: CheckpointStore, main: ModelRef, tmp_path: Path):
    kept = write_checkpoint(store, main, 1)
    (tmp_path / "elsewhere").mkdir()
    kept.path.with_name("0003").symlink_to(tmp_path / "elsewhere")

    assert store.collect() == []
    assert kept.path.with_name("0003").is_symlink()


def test_a_stage_that_is_being_written_is_not_collected(store: CheckpointStore, main: ModelRef):
    with store.stage(main.at(1)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"half")

        assert CheckpointStore(store.root).collect() == []
        assert stage.path.exists()


@pytest.mark.parametrize("content", [b"{", json.dumps({"format": 99}).encode()])
def test_what_has_a_manifest_is_never_collected(store: CheckpointStore, main: ModelRef, content: bytes):
    checkpoint = write_checkpoint(store, main, 1)
    manifest = checkpoint.path / "checkpoint.json"
    manifest.chmod(0o644)
    manifest.write_bytes(content)

    assert store.collect() == []
    assert manifest.exists()


def test_a_model_that_was_renamed_by_hand_is_never_collected(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    checkpoint.path.parents[1].rename(store.root / "shop/models/renamed")

    assert store.collect() == []
    assert (store.root / "shop/models/renamed/checkpoints/0001/checkpoint.json").exists()


def test_a_model_folder_with_nothing_in_it_is_collected(store: CheckpointStore):
    (store.root / "shop/models/empty/checkpoints").mkdir(parents=True)

    store.collect()

    assert store.models() == []
