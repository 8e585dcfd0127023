"""Reward curves of a run and its forks, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

COLORS = ("#c0392b", "#1f7a4d", "#2c5f9e", "#8e44ad")


@dataclass(frozen=True)
class Branch:
    """A model and the mean reward of its weights at each step."""

    name: str
    rewards: Mapping[int, float]


def draw(branches: Sequence[Branch], *, fork_step: int, folder: Path) -> list[Path]:
    """Draw all branches with the point where they part; gives the paths of the pictures."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    for branch, color in zip(branches, COLORS, strict=False):
        steps = sorted(branch.rewards)
        axes.plot(steps, [branch.rewards[step] for step in steps], "o-", color=color, ms=4, lw=1.8, label=branch.name)
    trunk = branches[0].rewards
    axes.plot(fork_step, trunk[fork_step], "o", ms=13, mfc="none", mec="#333333", mew=1.4)
    axes.annotate(
        f"fork at step {fork_step}",
        (fork_step, trunk[fork_step]),
        xytext=(0, 12),
        textcoords="offset points",
        ha="center",
    )
    axes.set(xlabel="step", ylabel="mean reward", ylim=(-0.03, 1.14))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.legend(frameon=False, loc="best")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "fork.png", folder / "fork.svg"]
    for path in paths:
        figure.savefig(path, dpi=180)
    plt.close(figure)
    return paths
