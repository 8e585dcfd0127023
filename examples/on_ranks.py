"""One checkpoint trained on by one process and by two ranks: the files are the same, byte for byte.

    OMP_NUM_THREADS=1 .venv/bin/python examples/on_ranks.py [BASE_MODEL]

A run may move between one process and any number of ranks at each fork, and stays the run that it was.
"""

from __future__ import annotations

import asyncio

import art
from art.local import LocalBackend
from yes_no_maybe import base_model, train

ROOT = "demo-out/on-ranks"
FORK_STEP, LAST_STEP = 1, 2
RANKS = {"one-process": 1, "two-ranks": 2}


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        trunk = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await trunk.register(backend)
        await train(trunk, until=FORK_STEP, learning_rate=5e-4)

    files: dict[str, dict[str, str]] = {}
    for name, ranks in RANKS.items():
        async with LocalBackend(path=ROOT, deterministic=True, ranks=ranks) as backend:
            model = art.TrainableModel(name=name, project="examples", base_model=base_model())
            await backend._experimental_fork_checkpoint(
                model, from_model="trunk", not_after_step=FORK_STEP, continue_if_exists=True
            )
            await model.register(backend)
            await train(model, until=LAST_STEP, learning_rate=5e-4)
            end = backend.store.open(model.ref.at(LAST_STEP))
            files[name] = {entry.path: entry.blake3 for entry in end.manifest.files}

    for path, digest in files["one-process"].items():
        print(f"{path}: {'the same' if files['two-ranks'][path] == digest else 'another'}")


if __name__ == "__main__":
    asyncio.run(main())
