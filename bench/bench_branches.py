"""Branches side by side against one after the other: seconds for two branches of a small model, in one run, as ratios.

Run: `.venv/bin/python bench/bench_branches.py [--steps 40] [--rounds 3]`. Every way computes with one thread a branch,
and writes the same files. A process has to start and to load its base: the longer a branch trains, the less it counts.
Ray is measured where it is installed (`make test-ray` makes such an environment).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import print_header

import art
from art.branches import Budget, Executor, InTurn, Processes, Ray

VARIANTS = [{"learning_rate": 2e-2}, {"learning_rate": 5e-3}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print_header(f"Two branches of {asked.steps} steps of a small model")
    ways: dict[str, Executor] = {"one after the other": InTurn(threads=1), "two processes": Processes(threads=1)}
    if importlib.util.find_spec("ray"):
        ways["Ray, on this machine"] = Ray(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        trunk = make_trunk(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(asked.rounds):
            for name, executor in ways.items():
                root = Path(shutil.copytree(trunk, Path(folder, f"{name} {number}")))
                seconds[name].append(measured(root, executor, asked.steps))
    first = statistics.median(seconds["one after the other"])
    print("| | seconds, median (slowest) | ratio |\n|---|---|---|")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {name} | {median:.1f} ({max(taken):.1f}) | {median / first:.2f} |")


def make_trunk(folder: Path) -> Path:
    """Train a small model for two steps."""
    import digits
    from art.local import LocalBackend
    from small import write_small_model

    base_model = write_small_model(folder / "base")

    async def train() -> None:
        async with LocalBackend(path=folder / "trunk", deterministic=True) as backend:
            model = art.TrainableModel(name="trunk", project="bench", base_model=str(base_model))
            await model.register(backend)
            await digits.train(model, 2)

    asyncio.run(train())
    return folder / "trunk"


def measured(root: Path, executor: Executor, steps: int) -> float:
    from branches.training import learn

    started = time.perf_counter()
    report = asyncio.run(
        art.fork_many(
            "bench/trunk@2",
            VARIANTS,
            learn,
            executor=executor,
            budget=Budget(steps=steps),
            backend={"path": str(root)},
        )
    )
    assert not report.failed, str(report)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
