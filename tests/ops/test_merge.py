"""A merge in the tree: two parents, a fresh optimizer, and what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import art
import digits
from art.adapter.merging import merge_adapters
from art.errors import BaseModelMismatchError, ConfigurationError, DestinationNotEmptyError
from art.format.merge import Method
from art.format.pick import Exact
from art.local import LocalBackend
from art.ops.merge import Merged, MergeRequest
from art.ops.merge import merge as merge_checkpoints
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from store.conftest import write_run

ONE, OTHER, CHILD = (art.ModelRef("shop", name) for name in ("one", "other", "child"))


@pytest.fixture(scope="module")
def trained(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one base, each two steps old."""
    root = tmp_path_factory.mktemp("merge")

    async def body() -> None:
        for seed, ref in enumerate((ONE, OTHER)):
            async with LocalBackend(path=root, deterministic=True, seed=seed) as backend:
                model = art.TrainableModel(name=ref.name, project=ref.project, base_model=str(small_model))
                await model.register(backend)
                await digits.train(model, 2)

    asyncio.run(body())
    return root


def merge(store: CheckpointStore, **changed: Any) -> Merged:
    request = {"first": ONE, "second": OTHER, "second_pick": Exact(1), "into": CHILD, **changed}
    return merge_checkpoints(store, MergeRequest(**request), combine=merge_adapters)


def test_the_child_has_both_parents_and_trains_on_with_a_fresh_optimizer(trained: Path, small_model: Path):
    store = CheckpointStore(trained)

    done = merge(store, method=Method(name="slerp", weight=0.25))
    again = merge(store, method=Method(name="slerp", weight=0.25))

    async def body() -> int:
        async with LocalBackend(path=trained, deterministic=True) as backend:
            model = art.TrainableModel(name=CHILD.name, project=CHILD.project, base_model=str(small_model))
            await model.register(backend)
            await digits.train(model, 1)
            return await model.get_step()

    manifest = done.checkpoint.manifest
    assert done.checkpoint.ref == CHILD.at(2)
    assert manifest.names == ("adapter_config.json", "adapter_model.safetensors")
    assert (manifest.carried, manifest.format) == (("adapter",), 1)
    assert manifest.parent is not None
    assert manifest.parent.ref == ONE.at(2)
    hop = manifest.ancestry[-1]
    assert hop.merge is not None
    assert (hop.merge.other.ref, hop.merge.other.digest) == (OTHER.at(1), store.open(OTHER.at(1)).digest)
    assert str(hop.merge.method) == "slerp, weight 0.25"
    assert done.kept is not None
    assert 0.5 < done.kept <= 1
    assert (again.repeated, again.checkpoint.digest) == (True, done.checkpoint.digest)
    assert asyncio.run(body()) == 3
    store.verify(store.open(CHILD.at(3)))
    later = store.open(CHILD.at(3)).manifest.ancestry[-1]
    assert later.merge == hop.merge
    with pytest.raises(DestinationNotEmptyError, match=r"cannot begin with a merge.*Choose a new name, or delete"):
        merge(store)


def test_a_merge_goes_into_a_bucket_and_back_with_its_parents(trained: Path, tmp_path: Path):
    store = CheckpointStore(trained)
    done = merge(store, into=art.ModelRef("shop", "pushed"))
    (tmp_path / "bucket").mkdir()
    remote, there = Remote.open(f"file://{tmp_path}/bucket"), CheckpointStore(tmp_path / "there")

    remote.push(done.checkpoint)
    fetched = remote.fetch(remote.open_checkpoint(done.checkpoint.ref), there).checkpoint

    assert fetched.manifest.ancestry == done.checkpoint.manifest.ancestry


def test_another_base_and_the_checkpoint_itself_are_refused(trained: Path):
    store = CheckpointStore(trained)
    (stranger,) = write_run(store, art.ModelRef("shop", "stranger"), 1)
    assert stranger.manifest.base_model is not None

    with pytest.raises(ConfigurationError, match="cannot be merged with itself"):
        merge(store, second=ONE, second_pick=Exact(2))
    with pytest.raises(BaseModelMismatchError, match="belong to different base models"):
        merge(store, second=stranger.ref.model)
