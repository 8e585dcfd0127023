"""Collecting debris: what no reader counts, and nothing that anybody holds or wrote."""

import json

import pytest

from art.names import ModelRef
from art.store.checkpoints import CheckpointStore

from .conftest import tree, write_checkpoint, write_foreign, write_run


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
