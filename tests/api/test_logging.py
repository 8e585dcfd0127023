"""What scripts log: groups, metrics, both, nothing; and where it stands beside what training has written."""

import asyncio
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import art
from api.world import PROMPT, World, two_groups
from art.errors import ConfigurationError
from art.local import LocalBackend


def history(world: World) -> list[dict[str, Any]]:
    path = world.backend.store.root / "api/models/agent/history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def written(world: World, split: str, step: int) -> list[art.TrajectoryGroup]:
    path = world.backend.store.root / f"api/models/agent/trajectories/{split}/{step:04}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [art.TrajectoryGroup.model_validate_json(line) for line in lines]


def test_log_writes_rewards_metrics_and_failures_under_its_split(world: World):
    trajectories: list[art.Trajectory | BaseException | None] = [
        art.Trajectory(messages_and_choices=[*PROMPT], reward=1.0, metrics={"turns": 2, "won": True}),
        art.Trajectory(reward=0.5, metrics={"turns": 4}),
        RuntimeError("no answer"),
        None,
    ]

    async def body() -> int:
        await world.model.log(trajectories, split="val")
        return await world.model.get_step()

    step = world.run(body())

    expected = {"val/reward": 0.75, "val/reward_std_dev": 0.25, "val/turns": 3.0, "val/won": 1.0}
    failures = {"val/exceptions": 1.0, "val/exception_rate": 1 / 3}
    assert history(world)[-1].items() >= {"step": step, "split": "val", **expected, **failures}.items()
    assert [trajectory.reward for trajectory in written(world, "val", step)[-1]] == [1.0, 0.5]


def test_a_metric_that_was_not_measured_is_left_out_and_one_that_is_no_number_is_named(world: World):
    measured, unmeasured = art.Trajectory(metrics={"score": 1}), art.Trajectory()
    unmeasured.metrics["score"] = None  # pyright: ignore[reportArgumentType]
    world.run(world.model.log([measured, unmeasured]))
    unmeasured.metrics["score"] = "good"  # pyright: ignore[reportArgumentType]

    assert history(world)[-1]["val/score"] == 1.0
    with pytest.raises(ConfigurationError, match="The metric 'score' is 'good'"):
        world.run(world.model.log([measured, unmeasured]))


def test_log_takes_groups_and_their_own_metrics(world: World):
    groups = [art.TrajectoryGroup([art.Trajectory(reward=0.25)], metrics={"difficulty": level}) for level in (1, 3)]

    world.run(world.model.log([*groups, None]))
    world.run(world.model.log(groups[0]))

    both, one = history(world)[-2:]
    assert (both["val/reward"], both["val/group_difficulty"]) == (0.25, 2.0)
    assert one["val/group_difficulty"] == 1.0


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.bool_, np.array, torch.tensor, Fraction, Decimal, bool])
def test_numbers_of_every_kind_are_logged_and_learned_from(world: World, kind: Any):
    async def body() -> art.TrainResult:
        groups = await two_groups(world.model)
        for group in groups:
            first = group.trajectories[1]
            first.reward, first.metrics["won"] = kind(1), kind(1)
            group.metrics["level"] = kind(1)
        await world.model.log(groups, split="val", metrics={"score": kind(1)})
        return await world.model.train(groups)

    result = world.run(body())

    logged = next(line for line in reversed(history(world)) if line["split"] == "val")
    assert logged.items() >= {"val/reward": 0.5, "val/reward_std_dev": 0.5, "val/won": 1.0}.items()
    assert logged.items() >= {"val/score": 1.0, "val/group_level": 1.0}.items()
    assert (result.metrics["reward"], result.metrics["trajectories_skipped"]) == (0.5, 0)
    assert written(world, "val", logged["step"])[-1].trajectories[1].reward == 1.0


def test_log_takes_metrics_alone_at_the_step_that_is_named(world: World):
    world.run(world.model.log(metrics={"score": 2, "time/step_s": 0.5}, step=7, split="test"))

    assert history(world)[-1].items() >= {"step": 7, "split": "test", "test/score": 2.0, "time/step_s": 0.5}.items()


@pytest.mark.parametrize("nothing", [(), ([],), (None,), ([None],)])
def test_nothing_to_log_is_no_error_and_writes_nothing(world: World, nothing: tuple[Any, ...]):
    before = history(world)

    world.run(world.model.log(*nothing))

    assert history(world) == before


def test_a_group_of_failures_alone_is_counted(world: World):
    world.run(world.model.log([art.TrajectoryGroup([RuntimeError("one"), RuntimeError("two")])], split="val"))

    assert history(world)[-1].items() >= {"val/exceptions": 2.0, "val/exception_rate": 1.0}.items()
    assert "val/reward" not in history(world)[-1]


@pytest.mark.parametrize("value", ["high", None, [1.0]])
def test_a_metric_that_is_no_number_is_refused_by_name_and_writes_nothing(world: World, value: Any):
    before = history(world)

    with pytest.raises(ConfigurationError, match="The metric 'score' is"):
        world.run(world.model.log([art.Trajectory(reward=1)], metrics={"score": value}))

    assert history(world) == before


def test_logging_what_was_trained_on_adds_only_what_training_did_not_write(small_model: Path, tmp_path: Path):
    async def body() -> World:
        async with LocalBackend(path=tmp_path) as backend:
            model = art.TrainableModel(name="agent", project="api", base_model=str(small_model))
            await model.register(backend)
            world = World(None, backend, model)  # pyright: ignore
            for _ in range(2):
                groups = await two_groups(model)
                for trajectory in (trajectory for group in groups for trajectory in group):
                    trajectory.metrics["correct"] = 1.0
                result = await backend.train(model, groups)
                await model.log(groups, metrics={**result.metrics, "mine": 3}, step=result.step, split="train")
            return world

    world = asyncio.run(body())

    assert [len(written(world, "train", step)) for step in (0, 1, 2)] == [2, 2, 0]
    assert [entry["step"] for entry in history(world)] == [0, 0, 1, 1]
    added = history(world)[1]
    assert added.items() >= {"train/correct": 1.0, "train/mine": 3.0, "train/exceptions": 0.0}.items()
    assert "train/loss" not in added
    assert world.backend.history.scores(world.backend.store.segments(world.model.ref), "train/reward") == {
        0: 0.5,
        1: 0.5,
    }


@pytest.mark.parametrize("rewards", [(1e308, 1e308), (-1e308, 1e308), (float("inf"), float("-inf"))])
def test_rewards_that_have_no_mean_are_written_without_one(world: World, rewards: tuple[float, ...]):
    world.run(world.model.log([art.Trajectory(reward=reward) for reward in rewards], split="val"))

    entry = history(world)[-1]
    assert entry["val/reward"] in (None, 0.0)
    assert len(written(world, "val", entry["step"])[-1]) == 2
