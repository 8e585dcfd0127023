"""Learn, go off the rails, fork from the last good step, recover: the whole loop on a real model, on CPU.

A 135M-parameter language model learns by GRPO to answer "maybe" (worth 1) rather than "no" (0.75) or "yes" (0.5).
Then a learning rate that is far too high wrecks it, and a fork of the last good checkpoint goes on with a lower one.
Everything below `art.` is the public API; run it with `make demo`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

import art
from art.local import LocalBackend
from plot import Branch, draw
from smollm2 import prepare_smollm2

OUT = Path("demo-out")
PROJECT = "demo"
ROLLOUTS = 16
GOOD, COLLAPSED = 0.95, 0.3
MOST_STEPS, STEPS_AFTER_THE_FORK = 30, 5
SECOND = "yes-no-maybe-002"
GOOD_RATE, BAD_RATE, LOWER_RATE = 5e-4, 2e-2, 2e-4
REWARDS = {"maybe": 1.0, "no": 0.75, "yes": 0.5}
QUESTIONS = (
    "respond with yes, no, or maybe",
    "answer with yes, no, or maybe",
    "say yes, no, or maybe",
    "reply with one of: yes, no, maybe",
)
COLUMNS = {"loss": "loss", "approx_kl": "kl", "entropy": "entropy", "grad_norm": "gradient"}
console = Console(highlight=False, soft_wrap=True)


@dataclass
class Run:
    """A model and the mean reward of each step's weights, as their rollouts earned it."""

    model: art.TrainableModel
    curve: dict[int, float] = field(default_factory=dict)

    def last_good_step(self) -> int:
        """The newest step whose weights earned at least `GOOD`."""
        return max(step for step, reward in self.curve.items() if reward >= GOOD)


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    """Ask once, and reward the word that comes back."""
    messages: art.Messages = [
        {"role": "system", "content": "Answer with one word."},
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": "maybe"},
        {"role": "user", "content": question},
    ]
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=messages, max_tokens=4
    )
    choice = completion.choices[0]
    word = (choice.message.content or "").strip(" .!\n").lower()
    return art.Trajectory(
        messages_and_choices=[*messages, choice],
        reward=REWARDS.get(word, 0.0),
        metrics={"tokens": completion.usage.completion_tokens if completion.usage else 0},
    )


async def train_step(run: Run, learning_rate: float, *, good: float = 2.0, worse_rate: float = 0.0) -> float:
    """Roll out, train and print a line; gives the mean reward of the weights that rolled out.

    When they earn `good` already, the step is taken with `worse_rate`.
    """
    model, started, step = run.model, time.perf_counter(), await run.model.get_step()
    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, question) for _ in range(ROLLOUTS)) for question in QUESTIONS),
        pbar_desc=None,
    )
    trajectories = [trajectory for group in groups for trajectory in group]
    reward = sum(trajectory.reward for trajectory in trajectories) / len(trajectories)
    run.curve[step] = reward
    rate = worse_rate if reward >= good else learning_rate
    result = await model.train(groups, art.TrainConfig(learning_rate=rate, loss="ppo", epsilon_high=0.28))
    seconds = time.perf_counter() - started
    tokens = sum(trajectory.metrics["tokens"] for trajectory in trajectories)
    print_line(step, rate, result.metrics, tokens / seconds, seconds)
    return reward


def print_header() -> None:
    numbers = " ".join(f"{column:>8}" for column in COLUMNS.values())
    console.print(f"[dim]step    rate reward {'':<10} {numbers} tok/s     s[/]")


def print_line(step: int, rate: float, metrics: Mapping[str, float], tokens_per_s: float, seconds: float) -> None:
    """One step, in the columns of `print_header`."""
    reward = metrics["reward"]
    bar = ("█" * round(reward * 10)).ljust(10, "·")
    color = "green" if reward >= GOOD else "red" if reward < 0.5 else "yellow"
    # Where every group agrees there is nothing to learn from, and nothing was measured.
    numbers = " ".join(f"{round(metrics[name], 3) + 0.0:>8.3f}" if name in metrics else f"{'-':>8}" for name in COLUMNS)
    line = f"{step:>4} {rate:>7.0e} [{color}]{reward:>6.2f} {bar}[/] {numbers} {tokens_per_s:>5.0f} {seconds:>5.1f}"
    console.print(line)


async def story(base_model: Path, root: Path, seed: int) -> list[Run]:
    """Learn, collapse, fork, recover."""
    async with LocalBackend(path=root, deterministic=True, seed=seed) as backend:
        first = Run(art.TrainableModel(name="yes-no-maybe-001", project=PROJECT, base_model=str(base_model)))
        await first.model.register(backend)
        title(f"{first.model.name} learns; once it is good, somebody sets the learning rate to {BAD_RATE:g}")
        print_header()
        reward = 0.0
        while reward < GOOD and len(first.curve) < MOST_STEPS:
            reward = await train_step(first, GOOD_RATE, good=GOOD, worse_rate=BAD_RATE)
        while reward >= COLLAPSED and len(first.curve) < MOST_STEPS:
            reward = await train_step(first, BAD_RATE)
        await train_step(first, BAD_RATE)

        good = first.last_good_step()
        title(f"{SECOND} forks from the last good step, {good}, and goes on with {LOWER_RATE:g}")
        second = Run(art.TrainableModel(name=SECOND, project=PROJECT, base_model=str(base_model)))
        await backend._experimental_fork_checkpoint(
            second.model, from_model=first.model.name, not_after_step=good, verbose=True
        )
        await second.model.register(backend)
        print_header()
        for _ in range(STEPS_AFTER_THE_FORK):
            await train_step(second, LOWER_RATE)
        return [first, second]


def title(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def report(runs: list[Run], root: Path) -> None:
    """The tree, the picture, and where everything lies."""
    first, second = runs
    title("Both runs")
    sys.stdout.flush()
    art_program = Path(sys.executable).with_name("art")
    subprocess.run([art_program, "--root", root, "log", "--graph"], check=True)
    branches = [Branch(run.model.name, run.curve) for run in runs]
    pictures = draw(branches, fork_step=min(second.curve), folder=OUT)
    title("Where everything lies")
    console.print(f"  checkpoints  {root}\n  picture      {pictures[0]}, {pictures[1].name}")
    console.print(f"  look around  .venv/bin/art --root {root} log, status, suggest {first.model.name}")
    console.print(f"  in a browser .venv/bin/art --root {root} ui")
    last = second.curve[max(second.curve)]
    console.print(
        f"\n{first.model.name} ended at reward {first.curve[max(first.curve)]:.2f}; "
        f"its fork {second.model.name} at [bold green]{last:.2f}[/]."
    )
    if last < GOOD:
        sys.exit(f"The fork ended below {GOOD}: this is a bug, please report it with the lines above.")


def main() -> None:
    # The table shows a step without signal by its dashes.
    logging.getLogger("art").setLevel(logging.ERROR)
    title("Preparing SmolLM2-135M-Instruct")
    base_model = prepare_smollm2()
    console.print(f"  {base_model}")
    root = OUT / "art"
    shutil.rmtree(root, ignore_errors=True)
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    report(asyncio.run(story(base_model, root, seed)), root)


if __name__ == "__main__":
    main()
