"""A script for each page of ART's documentation that trains, written as its readers write it, on a small model."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import art
from art.local import LocalBackend
from small import place_in_hub_cache

BASE = "OpenPipe/Qwen3-14B-Instruct"
STEPS = 2


@dataclass
class Scenario:
    """What a task differs in."""

    id: int
    prompt: str


SCENARIOS = [Scenario(1, "Say hello."), Scenario(2, "Say goodbye.")]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_in_hub_cache(small_model, BASE)
    monkeypatch.chdir(tmp_path)


def make(name: str = "agent-001") -> art.TrainableModel:
    return art.TrainableModel(name=name, project="my-agentic-task", base_model=BASE)


async def rollout(model: art.Model, scenario: Scenario) -> art.Trajectory:
    trajectory = art.Trajectory(
        messages_and_choices=[{"role": "system", "content": "..."}, {"role": "user", "content": scenario.prompt}],
        metadata={"scenario_id": scenario.id},
    )
    async with trajectory.track_duration("llm_completion"):
        completion = await model.openai_client().chat.completions.create(
            messages=trajectory.messages(), model=model.get_inference_name(), max_tokens=4, timeout=100
        )
    choice = completion.choices[0]
    trajectory.messages_and_choices.append(choice)
    trajectory.reward = float(len(choice.message.content or ""))
    trajectory.metrics["correct"] = float(trajectory.reward > 3)
    return trajectory.finish()


async def gather(model: art.Model) -> list[art.TrajectoryGroup]:
    return await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, scenario) for _ in range(4)) for scenario in SCENARIOS),
        pbar_desc="gather",
    )


def history(name: str = "agent-001") -> list[dict[str, Any]]:
    path = Path(".art/my-agentic-task/models") / name / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_client_and_the_training_loop():
    async def train() -> int:
        model, backend = make(), LocalBackend(path="./.art", in_process=False)
        await model.register(backend)
        for _ in range(await model.get_step(), STEPS):
            train_groups = await gather(model)
            result = await backend.train(model, train_groups, learning_rate=1e-5)
            await model.log(train_groups, metrics=result.metrics, step=result.step, split="train")
        await backend.close()
        return await after_a_restart()

    async def after_a_restart() -> int:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            return await model.get_step()

    assert asyncio.run(train()) == STEPS
    assert {entry["step"] for entry in history()} == {0, 1}


def test_the_older_spelling_of_the_loop():
    async def train() -> int:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            for _ in range(await model.get_step(), STEPS):
                train_groups = await gather(model)
                await model.delete_checkpoints()
                await model.train(train_groups, config=art.TrainConfig(learning_rate=1e-5))
            return await model.get_step()

    assert asyncio.run(train()) == STEPS


def test_metrics_of_trajectories_groups_and_steps():
    async def train() -> None:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            groups = await gather(model)
            for group in groups:
                group.metrics["difficulty"] = 2
            await model.log(groups, split="val")
            await model.log(metrics={"time/step_eval_s": 1.5}, step=0)

    asyncio.run(train())

    first, second = history()
    assert {"val/reward", "val/reward_std_dev", "val/exception_rate", "val/correct", "val/duration"} <= set(first)
    assert (first["val/group_difficulty"], second["time/step_eval_s"]) == (2.0, 1.5)


def test_checkpoints_are_deleted_in_the_loop():
    async def train() -> list[int]:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            for step in range(3):
                train_groups = await gather(model)
                result = await backend.train(model, train_groups, learning_rate=5e-5)
                await model.log(train_groups, metrics=result.metrics, step=result.step, split="train")
                await model.log([art.Trajectory(reward=-float(step))], split="val")
                await model.delete_checkpoints(best_checkpoint_metric="val/reward")
            return backend.store.steps(model.ref)

    assert asyncio.run(train()) == [1, 3]


def test_additional_histories_are_trained_on_too():
    async def train() -> art.TrainResult:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            trajectories: list[art.Trajectory] = []
            for reward in (0.0, 1.0):
                trajectory, sub_agent = await asyncio.gather(*(rollout(model, scenario) for scenario in SCENARIOS))
                trajectory.reward = reward
                trajectory.additional_histories.append(art.History(messages_and_choices=sub_agent.messages_and_choices))
                trajectories.append(trajectory)
            return await backend.train(model, [art.TrajectoryGroup(trajectories)])

    metrics = asyncio.run(train()).metrics

    assert (metrics["trajectories"], metrics["rows"]) == (2, 4)


def test_supervised_training_and_then_reinforcement():
    said: list[Any] = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]

    async def train() -> int:
        async with LocalBackend() as backend:
            model = make()
            await model.register(backend)
            await model.train_sft(
                [art.Trajectory(messages_and_choices=said)], config=art.TrainSFTConfig(learning_rate=5e-5)
            )
            train_groups = await gather(model)
            result = await backend.train(model, train_groups)
            await model.log(train_groups, metrics=result.metrics, step=result.step, split="train")
            return result.step

    assert asyncio.run(train()) == 2


def test_a_script_for_managed_training_is_told_what_to_use():
    with pytest.raises(ImportError, match=r"art\.local\.LocalBackend"):
        exec("from art.serverless.backend import ServerlessBackend", {})
