"""A sweep from the shell: `art sweep` forks a branch for each learning rate, and runs this script for each.

    .venv/bin/python examples/sweep.py [BASE_MODEL]

Run like this it trains the trunk and starts the sweep. Run by the sweep it trains its branch.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import art
from art.local import LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = "demo-out/sweep"
FORK_STEP, STEPS = 2, 2
SWEEP = ["sweep", f"examples/trunk@{FORK_STEP}", "--set", "learning_rate=5e-5,5e-4", "--steps", str(STEPS)]


async def trunk() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        model = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await model.register(backend)
        await train(model, until=FORK_STEP, learning_rate=5e-4)


async def branch() -> None:
    async with art.branches.here() as branch:
        rate = branch.config.learning_rate
        await train(branch.model, until=branch.first + STEPS, learning_rate=rate)
        print(f"{branch.model.name} ends with a reward of {await evaluate(branch.model):.2f}")


if __name__ == "__main__":
    if "ART_BRANCH" in os.environ:
        asyncio.run(branch())
    else:
        asyncio.run(trunk())
        program = str(Path(sys.executable).with_name("art"))
        sys.exit(subprocess.run([program, "--root", ROOT, *SWEEP, "--script", __file__], check=False).returncode)
