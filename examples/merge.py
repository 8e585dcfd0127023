"""Two branches off one trunk, and a model that begins with both: `art merge`.

    .venv/bin/python examples/merge.py [BASE_MODEL]

The merge has weights alone: its optimizer starts afresh. Both branches are its parents; `art log --graph` draws them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import art
from art.local import LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = "demo-out/merge"
FORK_STEP, LAST_STEP = 2, 4
RATES = {"slow": 2e-4, "fast": 8e-4}


async def main() -> None:
    rewards: dict[str, float] = {}
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        trunk = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await trunk.register(backend)
        await train(trunk, until=FORK_STEP, learning_rate=5e-4)
        for name, rate in RATES.items():
            branch = art.TrainableModel(name=name, project="examples", base_model=base_model())
            await backend._experimental_fork_checkpoint(
                branch, from_model="trunk", not_after_step=FORK_STEP, continue_if_exists=True
            )
            await branch.register(backend)
            await train(branch, until=LAST_STEP, learning_rate=rate)
            rewards[name] = await evaluate(branch)
        subprocess.run([program(), "--root", ROOT, "merge", *ends(), "--into", "both"], check=True)
        both = art.TrainableModel(name="both", project="examples", base_model=base_model())
        await both.register(backend)
        rewards["both"] = await evaluate(both)
    print(", ".join(f"{name}: reward {reward:.2f}" for name, reward in rewards.items()))
    subprocess.run([program(), "--root", ROOT, "log", "--graph"], check=True)


def ends() -> list[str]:
    return [f"examples/{name}@{LAST_STEP}" for name in RATES]


def program() -> str:
    return str(Path(sys.executable).with_name("art"))


if __name__ == "__main__":
    asyncio.run(main())
