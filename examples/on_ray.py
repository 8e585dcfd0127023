"""Branches on a Ray cluster: one for each learning rate, wherever there is room. `pip install 'artfork[ray]'`

    .venv/bin/python examples/on_ray.py [BASE_MODEL]

Without `RAY_ADDRESS` the cluster is this machine. On several ones, let ROOT be a folder that all of them see.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import art
from art.branches import Branch, Ray
from art.local import LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = Path("demo-out/on-ray").absolute()
FORK_STEP, LAST_STEP = 1, 3
LEARNING_RATES = (5e-5, 5e-4)


async def go_on(branch: Branch) -> float:
    """Train a branch; gives the mean reward it ends with."""
    await train(branch.model, until=LAST_STEP, learning_rate=branch.config.learning_rate)
    return await evaluate(branch.model)


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        trunk = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await trunk.register(backend)
        await train(trunk, until=FORK_STEP, learning_rate=5e-4)

    variants = {f"lr-{rate:g}": {"learning_rate": rate} for rate in LEARNING_RATES}
    report = await art.fork_many(
        f"examples/trunk@{FORK_STEP}", variants, go_on, executor=Ray(threads=1), backend={"path": str(ROOT)}
    )
    print(report)


if __name__ == "__main__":
    asyncio.run(main())
