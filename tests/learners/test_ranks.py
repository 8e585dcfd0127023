"""Ranks: the bits of one process, less memory in each, and one error when one is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from learning import CONFIG, World, contents, take
from worlds import random_groups

import art
from art.config import TrainConfig
from art.errors import ConfigurationError, RankError
from art.local import LocalBackend
from art.train.ranks.collective import Ranks
from art.train.ranks.learner import RankedTrainer
from small import write_small_model

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(*pids: int) -> None:
    while any(map(is_running, pids)):  # the test's own time limit ends it
        time.sleep(0.05)


@pytest.fixture(scope="module")
def two_ranks(world: World) -> Iterator[RankedTrainer]:
    ranks = world.ranks(2, timeout_s=5)
    yield ranks
    ranks.close()


@pytest.fixture
def ranks(two_ranks: RankedTrainer) -> RankedTrainer:
    """Two ranks that run, and begin afresh."""
    two_ranks.start()
    return two_ranks


def test_each_rank_takes_part_in_every_round_and_no_micro_batch_is_left_out():
    shares = [Ranks(rank=rank, count=3).places(7) for rank in range(3)]

    assert shares == [[0, 3, 6], [1, 4, 6], [2, 5, 6]]
    assert Ranks(rank=2, count=3).places(1) == [0]


def test_a_loss_that_no_other_process_can_import_is_refused_and_costs_nothing(ranks, tmp_path):
    before = contents(ranks, tmp_path / "before")

    with pytest.raises(ConfigurationError, match="cannot reach the ranks"):
        ranks.step(random_groups(seed=1), TrainConfig(loss=lambda vectors: -vectors.logp_N))

    assert contents(ranks, tmp_path / "after") == before


def test_a_rank_that_is_killed_is_one_error_and_the_ranks_start_again_from_the_checkpoint(world, ranks, tmp_path):
    take(ranks, 1)
    contents(ranks, tmp_path / "here")
    first, second = ranks.pids
    os.kill(second, signal.SIGKILL)

    with pytest.raises(RankError, match=r"Rank 1 of 2 ended \(killed by SIGKILL.*nothing was committed"):
        take(ranks, 2)
    wait_until_gone(first, second)
    with pytest.raises(RankError, match="load a checkpoint"):
        take(ranks, 2)
    ranks.load(tmp_path / "here")
    take(ranks, 2)

    alone = world.one_process()
    take(alone, 1, 2)
    assert contents(ranks, tmp_path / "again") == contents(alone, tmp_path / "alone")


def test_a_rank_that_hangs_is_not_waited_for_for_ever(ranks: RankedTrainer):
    pids = ranks.pids
    os.kill(pids[1], signal.SIGSTOP)

    with pytest.raises(RankError, match="Rank 0 of 2 ended"):
        take(ranks, 1)

    wait_until_gone(*pids)


@pytest.mark.long
def test_a_rank_that_dies_in_the_middle_of_a_step_ends_it(ranks: RankedTrainer):
    # Longer than the wait, on any machine.
    long = CONFIG.with_settings({"epochs": 2_000})
    killing = threading.Timer(1.0, os.kill, (ranks.pids[0], signal.SIGKILL))
    killing.start()

    with pytest.raises(RankError, match="Rank 0 of 2 ended"):
        ranks.step(random_groups(seed=1), long)

    killing.join()


def test_closing_ends_the_ranks_and_a_second_time_does_nothing(ranks: RankedTrainer):
    pids = ranks.pids

    ranks.close()
    ranks.close()

    assert not any(map(is_running, pids))


def test_ranks_end_with_the_process_that_started_them_even_when_it_is_killed(world: World):
    command = [sys.executable, str(HERE / "orphaned_ranks.py"), str(world.path)]
    paths = os.pathsep.join([*map(str, (HERE, HERE.parent, HERE.parent / "train")), str(Path(art.__file__).parents[1])])
    parent = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr

    wait_until_gone(*map(int, parent.stdout.split()))


def test_a_rank_that_no_backend_started_says_how_ranks_are_started():
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ART_RANKS")}
    command = [sys.executable, "-m", "art.train.ranks"]
    paths = {"PYTHONPATH": str(Path(art.__file__).parents[1])}

    done = subprocess.run(command, env={**bare, **paths, "RANK": "0"}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Give your script LocalBackend(ranks=2)" in done.stderr


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "two"])
def test_a_number_of_ranks_that_cannot_be_is_one_clear_error(count, tmp_path):
    with pytest.raises(ConfigurationError, match=r"ranks=.*: give a whole number from 1"):
        LocalBackend(path=tmp_path, ranks=count)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.long), "bfloat16"])
def test_a_run_that_forks_from_one_rank_to_two_and_to_three_is_the_run_that_never_moved(dtype, tmp_path):
    base = write_small_model(tmp_path / "base", family="llama")
    root = tmp_path / "root"

    async def train(backend: LocalBackend, name: str, *seeds: int, source: str | None = None) -> None:
        model = art.TrainableModel(
            name=name, project="p", base_model=str(base), _internal_config={"peft_args": {"lora_dropout": 0.3}}
        )
        if source:
            await backend._experimental_fork_checkpoint(model, from_model=source)
        await model.register(backend)
        for seed in seeds:
            await backend.train(model, random_groups(seed=seed), config=CONFIG)

    async def whole() -> None:
        async with LocalBackend(path=root, dtype=dtype) as backend:
            await train(backend, "whole", 1, 2, 3)
            await train(backend, "one", 1)

    async def moved(name: str, source: str, seed: int, ranks: int) -> None:
        async with LocalBackend(path=root, dtype=dtype, ranks=ranks) as backend:
            await train(backend, name, seed, source=source)

    asyncio.run(whole())
    asyncio.run(moved("two", "one", 2, 2))
    asyncio.run(moved("three", "two", 3, 3))

    store = LocalBackend(path=root).store
    digests = {
        name: {entry.path: entry.blake3 for entry in store.open(art.ModelRef("p", name).at(3)).manifest.files}
        for name in ("whole", "three")
    }
    assert digests["three"] == digests["whole"]
    assert digests["whole"].keys() >= {"adapter_model.safetensors", "optimizer.safetensors", "trainer.json"}
