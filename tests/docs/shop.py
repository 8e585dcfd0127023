"""A root as the pages have it: `shop/agent-1` at step 500, with what it learned from, and two forks of it."""

import asyncio
import shutil
from pathlib import Path

import art
from art.local import LocalBackend
from art.store.store import CheckpointStore

SOURCE = art.ModelRef("shop", "agent-1")
FORKS = (art.ModelRef("shop", "agent-3"), art.ModelRef("my-project", "my-model-v1"))


def make_shop(root: Path, base_model: str) -> None:
    """Train a step, give its checkpoint the number 500, and fork it."""
    asyncio.run(_train(root, base_model))
    store = CheckpointStore(root)
    first = store.open(SOURCE.at(1))
    with store.stage(SOURCE.at(500)) as stage:
        for entry in first.manifest.files:
            shutil.copyfile(first.path / entry.path, stage.path / entry.path)
        details = {name: getattr(first.manifest, name) for name in ("base_model", "lora", "libraries", "environment")}
        later = stage.commit(parent=first, metrics=first.manifest.metrics, **details)
    for fork in FORKS:
        store.fork(later, fork)


async def _train(root: Path, base_model: str) -> None:
    async with LocalBackend(path=root) as backend:
        model = art.TrainableModel(name=SOURCE.name, project=SOURCE.project, base_model=base_model)
        await model.register(backend)
        rollouts = (_rollout(model, float(reward)) for reward in range(4))
        groups = await art.gather_trajectory_groups([art.TrajectoryGroup(rollouts)], pbar_desc=None)
        await model.train(groups, art.TrainConfig(learning_rate=1e-4))


async def _rollout(model: art.TrainableModel, reward: float) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": "Greet me."}]
    completion = await model.openai_client().chat.completions.create(model=model.name, messages=messages, max_tokens=4)
    return art.Trajectory(messages_and_choices=[*messages, completion.choices[0]], reward=reward)
