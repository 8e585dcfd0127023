"""The documentation's examples of checkpoint forking, line for line, on a small model under the name they use."""

import asyncio
from pathlib import Path

import pytest

import art
from art.local import LocalBackend
from art.store.history import HistoryStore
from art.store.sharing import share
from art.store.store import CheckpointStore
from small import place_in_hub_cache

BASE = "OpenPipe/Qwen3-14B-Instruct"


@pytest.fixture(scope="module")
def base_in_cache(small_model: Path) -> str:
    """A small Qwen3 in the Hugging Face cache, where the hub's client would have put the real one."""
    place_in_hub_cache(small_model, BASE)
    return BASE


async def rollout(model: art.TrainableModel) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": "summarize"}]
    completion = await model.openai_client().chat.completions.create(
        model=model.name, messages=messages, max_completion_tokens=4
    )
    choice = completion.choices[0]
    return art.Trajectory(messages_and_choices=[*messages, choice], reward=float(len(choice.message.content or "") > 3))


async def train_a_step(model: art.TrainableModel, learning_rate: float = 1e-5) -> None:
    groups = await art.gather_trajectory_groups(
        [art.TrajectoryGroup(rollout(model) for _ in range(4)) for _ in range(2)], pbar_desc=None
    )
    await model.train(groups, config=art.TrainConfig(learning_rate=learning_rate))


async def write_run(name: str, project: str, steps: list[int]) -> None:
    """Lay down checkpoints of a real model at the steps that the examples speak of."""
    async with LocalBackend() as backend:
        scratch = art.TrainableModel(name="scratch", project=project, base_model=BASE)
        await scratch.register(backend)
        await train_a_step(scratch)
        trained = backend.store.select(scratch.ref).checkpoint
        model, parent = art.ModelRef(project, name), None
        for step in steps:
            with backend.store.stage(model.at(step)) as stage:
                for entry in trained.manifest.files:
                    share(trained.path / entry.path, stage.path / entry.path)
                parent = stage.commit(parent=parent, base_model=trained.manifest.base_model, lora=trained.manifest.lora)


def test_the_first_example_forks_and_trains_on(
    base_in_cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(write_run("my-model-v1", "my-project", [450, 500, 550]))

    # fmt: off
    async def train():
        async with LocalBackend() as backend:
            # Create a new model that will fork from an existing checkpoint
            model = art.TrainableModel(
                name="my-model-v2",
                project="my-project",
                base_model="OpenPipe/Qwen3-14B-Instruct",
            )

            # Copy the checkpoint from another model
            await backend._experimental_fork_checkpoint(
                model,
                from_model="my-model-v1",
                not_after_step=500,  # Use checkpoint at or before step 500
                verbose=True,
            )

            # Register and continue training
            await model.register(backend)

            # ... rest of training code
            await train_a_step(model)
    # fmt: on

    asyncio.run(train())

    store, forked = CheckpointStore(".art"), art.ModelRef("my-project", "my-model-v2")
    assert store.steps(forked) == [500, 501]
    assert [entry.step for entry in HistoryStore(store.root).read(forked)] == [500]
    assert "fork of my-project/my-model-v1@500" in capsys.readouterr().err


def test_the_practical_example_tries_a_lower_learning_rate(
    base_in_cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(write_run("summarizer-base", "experiments", [900, 1000, 1100]))

    # fmt: off
    # Original model trained with lr=1e-5
    base_model = art.TrainableModel(
        name="summarizer-base",
        project="experiments",
        base_model="OpenPipe/Qwen3-14B-Instruct",
    )

    # Fork at step 1000 to try lower learning rate
    low_lr_model = art.TrainableModel(
        name="summarizer-low-lr",
        project="experiments",
        base_model="OpenPipe/Qwen3-14B-Instruct",
    )

    # The page registers `model` here, a name that it does not define; it can only mean the fork.
    model = low_lr_model

    async def experiment():
        async with LocalBackend() as backend:
            # Fork the model from the base model
            await backend._experimental_fork_checkpoint(
                low_lr_model,
                from_model="summarizer-base",
                not_after_step=1000,
                verbose=True,
            )

            await model.register(backend)

            # Now train with a lower learning rate
            # ... training code with different configs
            await train_a_step(model, learning_rate=1e-6)
    # fmt: on

    asyncio.run(experiment())

    store = CheckpointStore(".art")
    assert store.steps(low_lr_model.ref) == [1000, 1001]
    assert store.steps(base_model.ref) == [900, 1000, 1100]
