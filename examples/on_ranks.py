"""One checkpoint trained on by one process and by two ranks: the files are the same, byte for byte.

    OMP_NUM_THREADS=1 .venv/bin/python examples/on_ranks.py [BASE_MODEL]

A run may move between one process and any number of ranks at each fork, and stays the run that it was.
"""

from __future__ import annotations

import asyncio

import art
from art.branches import Branch
from art.local import LocalBackend
from art.store.store import CheckpointStore
from yes_no_maybe import base_model, train

ROOT = "demo-out/on-ranks"
FORK_STEP, LAST_STEP = 1, 2
RANKS = {"one-process": 1, "two-ranks": 2}


async def go_on(branch: Branch) -> None:
    """Train a branch on as many ranks as its backend has."""
    await train(branch.model, until=LAST_STEP, learning_rate=5e-4)


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        trunk = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await trunk.register(backend)
        await train(trunk, until=FORK_STEP, learning_rate=5e-4)

    for name, ranks in RANKS.items():
        backend = {"path": ROOT, "ranks": ranks}
        report = await art.fork_many(f"examples/trunk@{FORK_STEP}", {name: {"ranks": ranks}}, go_on, backend=backend)
        print(report)
    alone, ranked = (files(name) for name in RANKS)
    for path, digest in alone.items():
        print(f"{path}: {'the same' if ranked[path] == digest else 'another'}")


def files(name: str) -> dict[str, str]:
    """Give the digest of each file that a branch ends with."""
    end = CheckpointStore(ROOT).open(art.ModelRef("examples", name).at(LAST_STEP))
    return {entry.path: entry.blake3 for entry in end.manifest.files}


if __name__ == "__main__":
    asyncio.run(main())
