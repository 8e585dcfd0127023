"""What was noted, as a picture with the band of the seeds and as a table. Knows the notes' names only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

COLORS = {"ours": "#1f7a4d", "TRL": "#c0392b", "fork": "#2c5f9e", "weights only": "#8e44ad"}


@dataclass
class Curve:
    """What one run of a side earned, by step."""

    rewards: dict[int, float] = field(default_factory=dict)
    accuracies: dict[int, float] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    """Of all cores together: what other programs of the machine do counts little."""


Sides = Mapping[str, list[Curve]]


def report(folder: Path) -> None:
    """Draw each task's notes into SVG and PNG beside them, and print a line for each side."""
    for task, sides in read(folder).items():
        print(f"\n## {task}\n")
        draw(task, sides, folder)
        print("| | seeds | mean reward of the last 4 steps | accuracy at the start, at the end | CPU seconds a step |")
        print("|---|---|---|---|---|")
        for side, curves in sides.items():
            print(f"| {side} | {len(curves)} | {' | '.join(_numbers(curves))} |")


def read(folder: Path) -> dict[str, dict[str, list[Curve]]]:
    """Give the curves of each task's sides; a branch is a side of its own."""
    found: dict[str, dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.jsonl")):
        first, *notes = [json.loads(line) for line in path.read_text().splitlines()]
        curves: dict[str, Curve] = defaultdict(Curve)
        for note in notes:
            _add(curves[note.get("branch", first["side"])], note)
        for side, curve in curves.items():
            if side != "trunk" and curve.rewards:
                found[first["task"]][side].append(curve)
    return found


def draw(task: str, sides: Sides, folder: Path) -> None:
    """Draw reward over steps and over seconds, and accuracy over steps; a band is from the worst seed to the best."""
    figure, (by_step, by_second, accuracy) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for side in ("ours", "TRL"):
        curves = sides.get(side, [])
        _band(by_step, side, [_running(curve.rewards) for curve in curves])
        for number, curve in enumerate(curves):
            spent = list(accumulate(curve.cpu_s[step] for step in sorted(curve.cpu_s)))
            rewards = _running(curve.rewards)
            label = side if number == 0 else None
            by_second.plot(spent, [rewards[step] for step in sorted(rewards)], color=COLORS[side], label=label)
    for side in COLORS:
        _band(accuracy, side, [curve.accuracies for curve in sides.get(side, [])])
    by_step.set(xlabel="step", ylabel="reward, mean of 4 steps", title=f"{task}: reward over steps")
    by_second.set(xlabel="CPU seconds", xscale="log", title="reward over seconds")
    accuracy.set(xlabel="step", title="accuracy on problems never trained on")
    for axes in (by_step, by_second, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, loc="best")
    figure.savefig(folder / f"learning-{task}.png", dpi=150)
    figure.savefig(folder / f"learning-{task}.svg", metadata={"Date": None})
    plt.close(figure)


def _band(axes: Any, side: str, curves: Iterable[Mapping[int, float]]) -> None:
    values: dict[int, list[float]] = defaultdict(list)
    for curve in curves:
        for step, value in curve.items():
            values[step].append(value)
    if not values:
        return
    steps = sorted(values)
    seeds = max(map(len, values.values()))
    axes.plot(steps, [fmean(values[step]) for step in steps], color=COLORS[side], label=f"{side} ({seeds})")
    low, high = ([choose(values[step]) for step in steps] for choose in (min, max))
    axes.fill_between(steps, low, high, color=COLORS[side], alpha=0.15, lw=0)


def _running(rewards: Mapping[int, float]) -> dict[int, float]:
    """Give the mean of each step and the three before it: a step's problems differ in how hard they are."""
    return {step: fmean(rewards[at] for at in range(max(min(rewards), step - 3), step + 1)) for step in rewards}


def _add(curve: Curve, note: Mapping[str, Any]) -> None:
    step = int(note["step"])
    if "accuracy" in note:
        curve.accuracies[step] = note["accuracy"]
    else:
        curve.rewards[step], curve.cpu_s[step] = note["reward"], note["cpu_s"]


def _numbers(curves: list[Curve]) -> list[str]:
    last = [fmean(curve.rewards[step] for step in sorted(curve.rewards)[-4:]) for curve in curves]
    ends = [(curve.accuracies[min(curve.accuracies)], curve.accuracies[max(curve.accuracies)]) for curve in curves]
    cpu_s = [fmean(curve.cpu_s.values()) for curve in curves]
    accuracy = ", ".join(f"{fmean(end):.2f}" for end in zip(*ends, strict=True))
    return [f"{fmean(last):.2f} ({', '.join(f'{each:.2f}' for each in last)})", accuracy, f"{fmean(cpu_s):.1f}"]
