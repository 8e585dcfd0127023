"""What the judge finds in real runs, healthy ones and broken ones, judged step by step as a guard would.

The runs are those that `judged_runs.py` made and wrote down in `tests/ops/judged`. The tables go into
docs/design/judging.md:

    python bench/judging.py --write
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from art.ops.judge import Judgement, judge
from art.ops.series import Series, StepRow

HERE = Path(__file__).parents[1]
FOLDER = HERE / "tests/ops/judged"
PAGE = HERE / "docs/design/judging.md"
BEGIN, END = "<!-- bench/judging.py writes from here -->\n", "<!-- to here -->\n"
MODELS = {"small": "small model", "smollm2": "SmolLM2"}
HEALTHY, CONSTANT = "healthy", "constant reward"
FAULTS = ("rate too high", "reward hacked", "entropy into one token", "sampler and trainer apart", CONSTANT)
TRUE = "true/reward"
HALF, DOWN = 0.5, 0.75
"""Shares of the best before: what two steps in a row earn in the mean, and each, when the weights are lost."""
APART = 1.0
"""Nats a token."""
SILENT = 5
FIRST_UNSEEN = 4
"""The seeds of each fault from this one on, and ten times as many healthy ones, were made when the thresholds stood."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as it was written down, and what the judge says of it."""

    model: str
    fault: str
    seed: int
    broken_at: int | None
    columns: dict[str, list[float | None]]

    @property
    def rows(self) -> list[StepRow]:
        """What its script logged; the judge does not see the true reward."""
        told = {name: values for name, values in self.columns.items() if name != TRUE}
        return [
            StepRow(step, "", {name: value for name, values in told.items() if (value := values[step]) is not None})
            for step in range(len(self.columns[TRUE]))
        ]

    @property
    def lost_at(self) -> int | None:
        """The onset: the step at which hindsight calls it lost, None where the fault did no harm."""
        if self.broken_at is None:
            return None
        if self.fault == CONSTANT:
            return self.broken_at + SILENT - 1
        return next(self._lost(self.broken_at), None)

    @property
    def is_unseen(self) -> bool:
        first = FIRST_UNSEEN if self.fault != HEALTHY else FIRST_UNSEEN * 2 * len(FAULTS)
        return self.model == "small" and self.seed % (100 if self.fault != HEALTHY else 10**6) >= first

    def alarm(self) -> tuple[int, Judgement] | None:
        """Give the step after which the run is called wrong for the first time."""
        rows = self.rows
        for end in range(1, len(rows) + 1):
            found = judge(Series(tuple(rows[:end])))
            if found.is_alarm:
                return end - 1, found
        return None

    def _lost(self, broken_at: int) -> Iterator[int]:
        true = [value or 0.0 for value in self.columns[TRUE]]
        apart = [value or 0.0 for value in self.columns.get("train/approx_kl", [0.0] * len(true))]
        for step in range(broken_at + 1, len(true)):
            best = max(fmean(true[end - 3 : end]) for end in range(3, step))
            two = true[step - 1 : step + 1]
            if (fmean(two) < HALF * best and max(two) < DOWN * best) or min(apart[step - 1 : step + 1]) > APART:
                yield step


def read(model: str) -> list[Run]:
    """Read the runs of one model."""
    path = FOLDER / f"{model}.json"
    told: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return [Run(model=model, **run) for run in told]


def seen(model: str) -> list[Run]:
    """Read the runs that the thresholds were set by."""
    return [run for run in read(model) if not run.is_unseen]


def tables() -> str:
    """Write a table for each model, and one of the seeds that nothing was set by."""
    parts: list[str] = []
    for model, named in MODELS.items():
        if runs := seen(model):
            parts.append(f"**{named[0].upper()}{named[1:]}**, {len(runs)} runs of up to {most_steps(runs)} steps\n")
            parts.append(table(runs))
    unseen = [run for run in read("small") if run.is_unseen]
    if unseen:
        parts.append("**Small model, made after the thresholds were set**\n")
        parts.append(table(unseen))
    parts.append(simulated())
    return "\n".join(parts)


def simulated(count: int = 2000, *, looks: int = 12) -> str:
    """Simulate healthy runs of all kinds of noise, and say how often one is called wrong at so many of its steps."""
    asked, wrong = 0, 0
    for seed in range(count):
        rows = simulated_run(random.Random(seed))
        for end in sorted({random.Random(f"{seed} {look}").randint(1, len(rows)) for look in range(looks)}):
            asked += 1
            wrong += judge(Series(tuple(rows[:end]))).is_alarm
    return f"Simulated healthy runs: {count:,} runs, judged {asked:,} times, called wrong {wrong:,} times.\n"


def simulated_run(chance: random.Random) -> list[StepRow]:
    """Make a run that learns, with noise in everything, and validates every so many steps."""
    noise, held_out_noise = chance.choice([0.02, 0.05, 0.1, 0.2]), chance.choice([0.02, 0.05, 0.1, 0.15])
    every, slowness = chance.choice([1, 1, 2, 4, 10]), chance.choice([20, 100, 300])
    narrowing, begin = chance.choice([0.995, 0.97, 0.9]), chance.choice([0.02, 0.3])
    rows: list[StepRow] = []
    for step in range(chance.randint(6, 200)):
        mean = begin + 0.5 * min(1.0, step / slowness)
        metrics = {
            "train/reward": min(1.0, max(0.0, mean + chance.gauss(0, noise))),
            "train/entropy": max(0.01, 2 * narrowing**step + chance.gauss(0, 0.05)),
            "train/grad_norm": abs(1 + chance.gauss(0, 0.3)),
            "train/approx_kl": abs(chance.gauss(0, 0.002)),
            "train/groups": 4.0,
            "train/groups_without_signal": float(chance.random() < 0.3),
        }
        if step % every == 0:
            metrics["val/reward"] = min(1.0, max(0.0, 0.9 * mean + chance.gauss(0, held_out_noise)))
        rows.append(StepRow(step, "", metrics))
    return rows


def most_steps(runs: Sequence[Run]) -> int:
    return max(len(run.columns[TRUE]) for run in runs)


def table(runs: Sequence[Run]) -> str:
    """Write one line for each kind of run."""
    heads = ("run", "runs", "lost", "called wrong", "as", "alarm less onset", "too late", "last good step less fault")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for fault in (HEALTHY, *FAULTS):
        each = [run for run in runs if run.fault == fault]
        if each:
            lines.append(f"| {' | '.join(cells(fault, each))} |")
    return "\n".join(lines) + "\n"


def cells(fault: str, runs: Sequence[Run]) -> Iterator[str]:
    alarms = [(run, alarm) for run in runs if (alarm := run.alarm())]
    late = [(alarm[0] - run.lost_at) for run, alarm in alarms if run.lost_at is not None]
    missed = sum(run.lost_at is not None and run.alarm() is None for run in runs)
    lost = sum(run.lost_at is not None for run in runs)
    yield fault
    yield str(len(runs))
    yield str(lost) if fault != HEALTHY else "–"
    yield str(len(alarms))
    yield ", ".join(sorted({str(judged.state) for _, (_, judged) in alarms})) or "–"
    yield spread(late)
    yield str(sum(steps > 0 for steps in late) + missed) if lost else "–"
    yield spread([(judged.last_good or 0) - run.broken_at for run, (_, judged) in alarms if run.broken_at is not None])


def spread(numbers: Sequence[int]) -> str:
    if not numbers:
        return "–"
    return f"{min(numbers):+d} to {max(numbers):+d}" if min(numbers) != max(numbers) else f"{numbers[0]:+d}"


def main() -> None:
    told = tables()
    print(told)
    if "--write" in sys.argv:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{told}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
