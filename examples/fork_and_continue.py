"""Train, fork from an earlier step with a lower learning rate, continue: the smallest useful fork.

    .venv/bin/python examples/fork_and_continue.py [BASE_MODEL]

Killed and started again, it goes on where it was: models stand at their newest step, and a fork that was made before
is recognised.
"""

from __future__ import annotations

import asyncio

import art
from art.local import LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = "demo-out/fork-and-continue"
FORK_STEP = 3


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        first = art.TrainableModel(name="maybe-base", project="examples", base_model=base_model())
        await first.register(backend)
        await train(first, until=6, learning_rate=5e-4)

        # The second model begins with the weights, the optimizer and everything else that the first had at that step.
        second = art.TrainableModel(name="maybe-low-lr", project="examples", base_model=base_model())
        await backend._experimental_fork_checkpoint(
            second, from_model="maybe-base", not_after_step=FORK_STEP, verbose=True
        )
        await second.register(backend)
        await train(second, until=6, learning_rate=2e-4)

        for model in (first, second):
            print(f"{model.name} stands at step {await model.get_step()} and earns {await evaluate(model):.2f}")
    print(f"The tree of both: art --root {ROOT} log --graph")


if __name__ == "__main__":
    asyncio.run(main())
