"""Trains in one of the ways that there are, says when a step has begun, and never ends by itself."""

from __future__ import annotations

import asyncio
import sys

import art
import digits
from art.branches import Branch, Budget, Processes, fork_many
from art.local import LocalBackend

MANY = 100_000
VARIANTS = [{"learning_rate": 1e-3}, {"learning_rate": 2e-3}]


async def stepping(backend: LocalBackend, model: art.TrainableModel, steps: int) -> None:
    await model.register(backend)
    for step in range(steps):
        groups = await digits.gather(model)
        if step == 1:
            say_ready(backend, model)
        await model.train(groups, config=digits.TRAIN)


async def one_long_step(backend: LocalBackend, model: art.TrainableModel) -> None:
    """Begin a step that takes minutes."""
    await model.register(backend)
    messages: art.Messages = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1!" * 50}]
    answers = [art.Trajectory(messages_and_choices=messages, reward=0.0) for _ in range(20_000)]
    say_ready(backend, model)
    await model.train_sft(answers, art.TrainSFTConfig(batch_size=4))


async def learn(branch: Branch) -> None:
    async for step in branch.steps():
        groups = await digits.gather(branch.model)
        if step > branch.first:
            say_ready(branch.backend, branch.model)
        await branch.train(groups)


def say_ready(backend: LocalBackend, model: art.TrainableModel) -> None:
    (backend.store.root / f"ready-{model.name}").touch()


async def main(kind: str, base_model: str, root: str) -> None:
    settings = {"guard": {"guard": art.Guard(max_forks=2)}, "ranks": {"ranks": 2}}.get(kind, {})
    async with LocalBackend(path=root, **settings) as backend:
        model = art.TrainableModel(name="one", project="p", base_model=base_model)
        if kind == "sft":
            await one_long_step(backend, model)
        else:
            await stepping(backend, model, 1 if kind == "branches" else MANY)


async def branch_off(root: str) -> None:
    executor, budget = Processes(workers=2, threads=1), Budget(steps=MANY)
    await fork_many("p/one@1", VARIANTS, learn, executor=executor, budget=budget, backend={"path": root})


if __name__ == "__main__":
    kind, base_model, root, again = *sys.argv[1:4], sys.argv[4:]
    asyncio.run(branch_off(root) if again else main(kind, base_model, root))
