"""What SmolLM2-135M learns, ours beside TRL's `GRPOTrainer`, and from a fork beside a restart from weights.

Same model, problems, batch, learning rate and seeds; reward and accuracy on problems never trained on, over steps and
over seconds. Every run is a process of its own and notes each step in a file, so that what was interrupted counts as
far as it came. Needs `pip install --group bench`; a TRL step takes 10 times ours, so sizes are options.

    .venv/bin/python bench/learning.py --steps 20 --seeds 3 --tasks sums calculator --sides ours TRL branches
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "examples"))

from learn.settings import Size
from learn.tasks import TASKS
from machine import describe

SIDES = ("ours", "TRL", "branches")


def run(side: str, task: str, seed: int, size: Size, notes: Path) -> None:
    """Learn in this process, a line of JSON for each thing noted."""
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("w", encoding="utf-8") as file:

        def note(found: dict[str, object]) -> None:
            file.write(json.dumps(found) + "\n")
            file.flush()

        note({"side": side, "task": task, "seed": seed, **asdict(size), **describe()})
        if side == "TRL":
            from learn import theirs

            theirs.run(TASKS[task], seed, size, note)
        else:
            from learn import ours

            asyncio.run((ours.run if side == "ours" else ours.run_branches)(TASKS[task], seed, size, note))


def run_all(asked: argparse.Namespace, sizes: list[str]) -> None:
    """Start one run after the other, the seeds in turn, so that an interruption leaves whole comparisons."""
    for task in asked.tasks:
        for seed in range(asked.seeds):
            for side in asked.sides:
                notes = asked.out / f"{task}-{side}-{seed}.jsonl"
                command = [sys.executable, __file__, "--one", side, task, str(seed), str(notes), *sizes]
                subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(asked.threads)})
                print(notes, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for field in fields(Size):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=["sums"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("demo-out/learning"))
    parser.add_argument("--draw", action="store_true", help="only draw what was noted")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = Size(**{field.name: getattr(asked, field.name) for field in fields(Size)})
    if asked.one:
        side, task, seed, notes = asked.one
        run(side, task, int(seed), size, Path(notes))
        return
    if not asked.draw:
        run_all(asked, [f"--{name.replace('_', '-')}={value}" for name, value in asdict(size).items()])
    from learn.picture import report

    report(asked.out)


if __name__ == "__main__":
    main()
