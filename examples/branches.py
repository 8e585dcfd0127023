"""Several ways on from one good checkpoint: a branch per learning rate, compared in a table.

    .venv/bin/python examples/branches.py [BASE_MODEL]

All branches begin with the very same weights and optimizer, so what differs in the end is the learning rate's doing.
On one disk they share the trunk's bytes.
"""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.table import Table

import art
from art.branches import Branch
from art.local import LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = "demo-out/branches"
FORK_STEP, LAST_STEP = 2, 5
LEARNING_RATES = (5e-5, 5e-4, 2e-2)


async def go_on(branch: Branch) -> float:
    """Train a branch; gives the mean reward it ends with."""
    await train(branch.model, until=LAST_STEP, learning_rate=branch.config.learning_rate)
    return await evaluate(branch.model)


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        trunk = art.TrainableModel(name="trunk", project="examples", base_model=base_model())
        await trunk.register(backend)
        await train(trunk, until=FORK_STEP, learning_rate=5e-4)
        before = await evaluate(trunk)

    variants = {f"lr-{rate:g}": {"learning_rate": rate} for rate in LEARNING_RATES}
    report = await art.fork_many(f"examples/trunk@{FORK_STEP}", variants, go_on, backend={"path": ROOT})
    for failed in report.failed:
        print(f"{failed.model}: {failed.problem}")
    results = [(result.name, float(str(result.value))) for result in report.results if result.value is not None]

    table = Table("branch", f"reward at step {FORK_STEP}", f"at step {LAST_STEP}")
    for name, after in sorted(results, key=lambda result: result[1], reverse=True):
        table.add_row(name, f"{before:.2f}", f"{after:.2f}")
    Console().print(table)
    print(f"The tree: art --root {ROOT} log --graph")


if __name__ == "__main__":
    asyncio.run(main())
