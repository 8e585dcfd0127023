"""A thousand branches of ten thousand steps in front of one bucket, second by second: requests, peaks, what is slowed.

Run: `.venv/bin/python bench/thousand_branches.py [--branches 1000] [--steps 10000]`; ten seconds. What one branch asks
for is counted first, by real pushes to an emulator of S3 (`bucket_requests.py`). Then time is simulated: steps take
about as long as they are told to, uploads as long as their bytes, and a step whose machine is lost is taken again. The
bucket counts, and answers `SlowDown` to what exceeds its limit; that is asked again a second later.
docs/design/thousand-branches.md has the figures.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from bucket_requests import count
from machine import print_header

from art.remote.objects import PART_BYTES

WRITES = ("PUT", "POST", "DELETE")
WRITES_A_SECOND = 3_500
"""What S3 takes below one prefix before it divides it. It takes 5,500 reads; there are fewer of them than writes."""
LARGE_FILES = (128_000_000, 257_000_000)
"""The adapter of a 14B model at rank 8, and its moments."""
BYTES_A_SECOND = 125_000_000
SPREAD = 0.1
"""How much the lengths of steps differ."""
LOSSES = 10
"""How often a branch loses its machine."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is simulated."""

    branches: int
    steps: int
    step_s: int
    start_s: int
    """Within how long all branches begin."""
    is_large: bool
    """Whether checkpoints have the bytes of a 14B model; they have kilobytes else."""

    @property
    def upload_s(self) -> int:
        return max(1, round(sum(LARGE_FILES) / BYTES_A_SECOND)) if self.is_large else 1


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the bucket saw."""

    writes: int
    reads: int
    busiest: int
    """The most writes that came in one second, without those that are asked again."""
    slowed: int
    """How many writes had to be asked again, once or more often."""
    behind_s: int
    """For how long in a row it was behind."""


def simulate(plan: Plan, counts: Mapping[str, Counter[str]]) -> Load:
    draw = np.random.default_rng(0)
    step = with_parts(counts["a step"]) if plan.is_large else counts["a step"]
    arriving = np.zeros(round(plan.steps * plan.step_s * 1.5) + plan.start_s + 60)
    for _ in range(plan.branches):
        lengths_s = plan.step_s * draw.lognormal(0, SPREAD, plan.steps)
        lengths_s[draw.choice(plan.steps, LOSSES, replace=False)] *= 2
        ends = (draw.uniform(0, plan.start_s) + np.cumsum(lengths_s)).astype(int)
        for second in range(plan.upload_s):
            np.add.at(arriving, ends + second, writes_in(step) / plan.upload_s)
    behind_s, slowed = waited(arriving)
    requests = all_requests(plan, step, counts)
    return Load(
        writes=writes_in(requests),
        reads=sum(requests.values()) - writes_in(requests),
        busiest=round(arriving.max()),
        slowed=slowed,
        behind_s=behind_s,
    )


def with_parts(push: Counter[str]) -> Counter[str]:
    """Give the requests of a push whose large files are sent in parts."""
    parts = sum(-(-size // PART_BYTES) for size in LARGE_FILES)
    return push + Counter(PUT=parts - len(LARGE_FILES), POST=2 * len(LARGE_FILES))


def all_requests(plan: Plan, step: Counter[str], counts: Mapping[str, Counter[str]]) -> Counter[str]:
    times = {"a branch begins": 1, "its fork is pushed": 1, "a branch goes on elsewhere": LOSSES}
    requests = Counter({kind: number * plan.steps for kind, number in step.items()})
    for what, number in times.items():
        requests.update({kind: each * number for kind, each in counts[what].items()})
    return Counter({kind: number * plan.branches for kind, number in requests.items()})


def writes_in(requests: Counter[str]) -> int:
    return sum(requests[kind] for kind in WRITES)


def waited(arriving: np.ndarray) -> tuple[int, int]:
    """Let the bucket take so many writes a second; gives for how long it was behind, and how many had to wait."""
    behind, slowed, in_a_row, longest_s = 0.0, 0.0, 0, 0
    for number in arriving:
        behind = max(0.0, behind + number - WRITES_A_SECOND)
        slowed += min(number, behind)
        in_a_row = in_a_row + 1 if behind else 0
        longest_s = max(longest_s, in_a_row)
    return longest_s, round(slowed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=10_000)
    asked = parser.parse_args()
    print_header(f"{asked.branches:,} branches of {asked.steps:,} steps in front of one bucket")
    counts = count(branches=4, steps=5)
    print(
        "| a step takes | a checkpoint | begun within | writes | reads | most writes a second | slowed | behind for |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for step_s, start_s, is_large in ((60, 60, True), (60, 1, True), (10, 60, True), (2, 60, False), (1, 60, False)):
        plan = Plan(branches=asked.branches, steps=asked.steps, step_s=step_s, start_s=start_s, is_large=is_large)
        load = simulate(plan, counts)
        print(
            f"| {step_s} s | {'385 MB' if is_large else 'kilobytes'} | {start_s} s | {load.writes / 1e6:,.1f} million "
            f"| {load.reads / 1e6:,.1f} million | {load.busiest:,} | {load.slowed:,} | {load.behind_s:,} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
