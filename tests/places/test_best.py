"""The best checkpoint is the one that a user means: the lowest loss, the highest reward, and never a guess."""

import asyncio
from pathlib import Path

import pytest

import art
from art.errors import ConfigurationError
from art.format.pick import Best
from art.local import LocalBackend
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from remote.proxy import FaultProxy
from store.conftest import write_checkpoint, write_run

MAIN = ModelRef("shop", "agent-1")
VALUES = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.3}


def after_deleting(root: Path, metric: str, **words: str) -> list[int]:
    """Delete by a metric whose values are `VALUES`; gives the steps that stay."""
    store = CheckpointStore(root)
    write_run(store, MAIN, *VALUES)
    for step, value in VALUES.items():
        HistoryStore(root).append(MAIN, step, split="val", metrics={metric.removeprefix("val/"): value})

    async def body() -> None:
        async with LocalBackend(path=root) as backend:
            model = art.TrainableModel(name=MAIN.name, project=MAIN.project, base_model="tiny")
            model._backend = backend
            await model.delete_checkpoints(best_checkpoint_metric=metric, **words)  # type: ignore[arg-type]

    asyncio.run(body())
    return store.steps(MAIN)


@pytest.mark.parametrize("metric", ["val/loss", "val/kl_div", "val/error_rate", "val/perplexity"])
def test_the_lowest_is_kept_where_lower_is_better(tmp_path: Path, metric: str):
    assert after_deleting(tmp_path, metric) == [2, 4]


@pytest.mark.parametrize("metric", ["val/reward", "val/accuracy"])
def test_the_highest_is_kept_where_higher_is_better(tmp_path: Path, metric: str):
    assert after_deleting(tmp_path, metric) == [3, 4]


def test_the_mode_says_what_the_name_does_not(tmp_path: Path):
    assert after_deleting(tmp_path / "a", "val/length", mode="min") == [2, 4]
    assert after_deleting(tmp_path / "b", "val/length", mode="max") == [3, 4]


def test_nothing_is_deleted_where_it_is_unclear_what_is_better(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="mode='min' or 'max'"):
        after_deleting(tmp_path, "val/length")

    assert CheckpointStore(tmp_path).steps(MAIN) == list(VALUES)


def test_the_best_in_a_bucket_is_found_without_reading_every_manifest(
    proxy: FaultProxy, moto_bucket: str, tmp_path: Path
):
    store, remote = CheckpointStore(tmp_path), Remote.open(f"s3://{moto_bucket}")
    for checkpoint in write_run(store, MAIN, *range(1, 13)):
        remote.push(checkpoint)
    for step in range(13):
        HistoryStore(tmp_path).append(MAIN, step, split="val", metrics={"loss": abs(step - 4)})
    remote.push_history(store, MAIN)
    proxy.forget()

    best = remote.select(MAIN, Best("val/loss")).checkpoint

    assert best.ref.step == 4
    assert len(proxy.requests) <= 6


def test_a_history_that_stopped_before_the_newest_checkpoint_does_not_choose(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    store, remote = CheckpointStore(tmp_path / "root"), Remote.open(f"file://{tmp_path}/bucket")
    run = write_run(store, MAIN, 1, 2)
    HistoryStore(store.root).append(MAIN, 1, split="train", metrics={"reward": 0.9})
    remote.push_history(store, MAIN)
    for checkpoint in (*run, *(write_checkpoint(store, MAIN, step, parent=run[-1], reward=0.7) for step in (5,))):
        remote.push(checkpoint)

    assert remote.select(MAIN, Best("reward")).checkpoint.ref.step == 5
