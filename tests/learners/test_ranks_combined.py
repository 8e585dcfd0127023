"""Ranks together with everything else: the files are those of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from learning import CONFIG, World, contents
from worlds import choice, random_groups, trajectory

import art
from art.branches import Branch, InTurn
from art.config import TrainSFTConfig
from art.local import LocalBackend
from art.store.store import CheckpointStore
from art.train.learner import Learner
from art.train.ranks.learner import RankedTrainer
from small import write_small_model

pytestmark = pytest.mark.slow
CONVERSATIONS = [trajectory(choice([7, 8, 9, number], prompt_ids=[1, 2])) for number in range(5)]
FEW = [art.TrajectoryGroup([trajectory(choice([5, 6, 7], prompt_ids=[1, 2]), reward=1.0)])]
SILENT = [
    art.TrajectoryGroup(trajectory(choice([5, 6, last], prompt_ids=[1, 2]), reward=0.5) for last in (7, 8)),
]
STEPS: dict[str, Callable[[Learner], object]] = {
    "fewer trajectories than ranks": lambda learner: learner.step(FEW, CONFIG.with_settings({"scale_rewards": False})),
    "one micro-batch": lambda learner: learner.step(
        random_groups(seed=3), CONFIG.with_settings({"micro_batch_tokens": 4096, "minibatches": 1})
    ),
    "groups without a signal": lambda learner: learner.step(SILENT, CONFIG),
    "more minibatches than rows": lambda learner: learner.step(
        random_groups(seed=4, groups=1, members=2), CONFIG.with_settings({"minibatches": 8, "epochs": 3})
    ),
    "answers": lambda learner: learner.train_on_answers(
        CONVERSATIONS, TrainSFTConfig(learning_rate=1e-3, batch_size=2)
    ),
}


@pytest.fixture(scope="module")
def three_ranks(world: World) -> Iterator[RankedTrainer]:
    ranks = world.ranks(3)
    yield ranks
    ranks.close()


def test_steps_on_three_ranks_have_the_bits_of_one_process_and_each_holds_less(
    three_ranks: RankedTrainer, world: World, tmp_path: Path
):
    alone = world.one_process()
    three_ranks.start()

    metrics = [three_ranks.step(random_groups(seed=seed), CONFIG) for seed in (1, 2)]

    expected = [alone.step(random_groups(seed=seed), CONFIG) for seed in (1, 2)]
    assert contents(three_ranks, tmp_path / "three") == contents(alone, tmp_path / "alone")
    assert [{**each, "seconds": 0} for each in metrics] == [{**each, "seconds": 0} for each in expected]
    assert three_ranks.trail == alone.trail
    held = three_ranks.held_bytes()
    whole = sum(parameter.numel() * parameter.element_size() for parameter in world.base.parameters())
    embeddings = world.base.get_input_embeddings().weight.nbytes
    # A third of the layers, padded where a matrix has no third; the embeddings are whole.
    assert all(each < embeddings + 0.4 * (whole - embeddings) for each in held)
    assert sum(held) > whole


@pytest.mark.parametrize("steps", STEPS)
def test_a_step_of_any_kind_has_the_bits_of_one_process(steps: str, three_ranks, world: World, tmp_path: Path):
    alone = world.one_process()
    three_ranks.start()
    for learner in (alone, three_ranks):
        learner.step(random_groups(seed=1), CONFIG)
        STEPS[steps](learner)

    assert contents(three_ranks, tmp_path / "ranks") == contents(alone, tmp_path / "alone")


def files_of(root: Path) -> dict[str, dict[str, str]]:
    """The digest of every file of every checkpoint."""
    store = CheckpointStore(root)
    return {
        f"{model.name}@{step}": {each.path: each.blake3 for each in store.open(model.at(step)).manifest.files}
        for model in store.models("p")
        for step in store.steps(model)
    }


async def go_on(branch: Branch) -> None:
    for seed in (2, 3):
        await branch.train(random_groups(seed=seed), micro_batch_tokens=40)


@pytest.mark.long
def test_branches_whose_backends_have_ranks_are_those_of_one_process(tmp_path: Path):
    base = write_small_model(tmp_path / "base", family="llama")
    variants = [{"learning_rate": 5e-3}, {"learning_rate": 1e-3}]

    async def body(root: Path, **backend: Any) -> None:
        async with LocalBackend(path=root) as trunk:
            model = art.TrainableModel(name="trunk", project="p", base_model=str(base))
            await model.register(trunk)
            await trunk.train(model, random_groups(seed=1), config=CONFIG)
        told = {"path": str(root), **backend}
        report = await art.fork_many("p/trunk@1", variants, go_on, executor=InTurn(), backend=told)
        assert not report.failed, str(report)

    asyncio.run(body(tmp_path / "alone"))
    asyncio.run(body(tmp_path / "ranks", ranks=2))

    assert files_of(tmp_path / "ranks") == files_of(tmp_path / "alone")
    assert len(files_of(tmp_path / "ranks")) == 1 + 2 * 3


@pytest.mark.long
def test_what_a_guard_takes_back_on_ranks_goes_on_as_in_one_process(tmp_path: Path):
    base = write_small_model(tmp_path / "base", family="llama")

    def rewarded(mean: float, seed: int) -> list[art.TrajectoryGroup]:
        groups = random_groups(seed=seed)
        for group in groups:
            for number, each in enumerate(group.trajectories):
                each.reward = mean + (0.05 if number % 2 else -0.05)
        return groups

    async def body(root: Path, **backend: Any) -> list[int]:
        guard = art.Guard(action="fork", change={"learning_rate": lambda rate: rate / 2})
        async with LocalBackend(path=root, guard=guard, **backend) as opened:
            model = art.TrainableModel(name="one", project="p", base_model=str(base))
            await model.register(opened)
            steps = []
            for seed, mean in enumerate((0.6, 0.7, 0.8, 0.9, 0.1, 0.1, 0.1, 0.9)):
                result = await opened.train(model, rewarded(mean, seed), config=CONFIG)
                steps.append(result.step)
            return steps

    alone, ranked = asyncio.run(body(tmp_path / "alone")), asyncio.run(body(tmp_path / "ranks", ranks=2))

    assert ranked == alone
    assert sorted(alone) != alone
    assert files_of(tmp_path / "ranks") == files_of(tmp_path / "alone")
