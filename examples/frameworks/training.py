"""What the scripts beside this one share: four rollouts for each question, then a training step on them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import art
from art.local import LocalBackend

QUESTIONS = ("Is 7 a prime number?", "Is 8 a prime number?")
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
Rollout = Callable[[art.TrainableModel, str], Awaitable[art.Trajectory]]


async def train(name: str, rollout: Rollout, *, base: str) -> art.TrainResult:
    """Register a model, roll out, and train once on what came of it."""
    async with LocalBackend(path="demo-out/frameworks", deterministic=True) as backend:
        model = art.TrainableModel(name=name, project="frameworks", base_model=base)
        await model.register(backend)
        groups = await art.gather_trajectory_groups(
            (art.TrajectoryGroup(rollout(model, question) for _ in range(4)) for question in QUESTIONS), pbar_desc=None
        )
        return await model.train(groups, art.TrainConfig(strict=True))


def run(name: str, rollout: Rollout) -> None:
    """Train the model that the program's first argument names."""
    base = sys.argv[1] if len(sys.argv) > 1 else BASE
    result = asyncio.run(train(name, rollout, base=base))
    print(f"{name}: step {result.step}, reward {result.metrics['reward']:.2f}")
