"""Tasks whose answers can be checked, with problems that are never trained on. Knows no trainer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Messages = list[dict[str, str]]
HELD_OUT_OF = 4
"""One problem in so many is kept for the test."""
NEAR = 10
"""A sum that is off by so much is worth nothing."""
CALL = re.compile(r"calculate\((\d{1,3}) \* (\d{1,3})\)")


@dataclass(frozen=True)
class Problem:
    """Two numbers."""

    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked, what answers it, and what that is worth."""

    name: str
    asks: Callable[[Problem], Messages]
    replies: Callable[[str, Problem], str | None]
    """What the tool says to a turn, None where the conversation ends."""
    rewards: Callable[[Sequence[str], Problem], float]
    is_right: Callable[[Sequence[str], Problem], bool]
    max_tokens: int
    most_turns: int
    numbers: range

    def problems(self) -> tuple[list[Problem], list[Problem]]:
        """Give those to train on and those for the test, the same in every run."""
        every = [Problem(left, right) for left in self.numbers for right in self.numbers]
        random.Random(0).shuffle(every)
        held_out = len(every) // HELD_OUT_OF
        return every[held_out:], every[:held_out]

    def batches(self, seed: int, *, steps: int, prompts: int) -> list[list[Problem]]:
        """Draw each step's problems; a seed gives every side the same ones."""
        training, _ = self.problems()
        draw = random.Random(seed)
        return [draw.sample(training, prompts) for _ in range(steps)]


def _number(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,6})\.?", text.strip())
    return int(found[1]) if found else None


def _asks_sum(problem: Problem) -> Messages:
    return [
        {"role": "system", "content": "Answer with one number."},
        {"role": "user", "content": "12 + 15"},
        {"role": "assistant", "content": "27"},
        {"role": "user", "content": f"{problem.left} + {problem.right}"},
    ]


def _rewards_sum(said: Sequence[str], problem: Problem) -> float:
    """1 for the sum, up to a half for a number that is near it."""
    found = _number(said[-1])
    if found is None:
        return 0.0
    off = abs(found - problem.left - problem.right)
    return 1.0 if off == 0 else 0.5 * max(0, NEAR - off) / NEAR


def _is_sum(said: Sequence[str], problem: Problem) -> bool:
    return _number(said[-1]) == problem.left + problem.right


def _asks_product(problem: Problem) -> Messages:
    return [
        {"role": "system", "content": "Call calculate, then say its result."},
        {"role": "user", "content": "21 * 13"},
        {"role": "assistant", "content": "calculate(21 * 13)"},
        {"role": "tool", "content": "273"},
        {"role": "assistant", "content": "273"},
        {"role": "user", "content": f"{problem.left} * {problem.right}"},
    ]


def _calculates(said: str, _: Problem) -> str | None:
    call = CALL.fullmatch(said.strip())
    return str(int(call[1]) * int(call[2])) if call else None


def _rewards_product(said: Sequence[str], problem: Problem) -> float:
    """A quarter for a call, as much again for the right one, and a half for the product after it."""
    call = CALL.fullmatch(said[0].strip())
    if call is None:
        return 0.0
    is_asked = (int(call[1]), int(call[2])) == (problem.left, problem.right)
    return 0.25 + 0.25 * is_asked + 0.5 * _is_product(said, problem)


def _is_product(said: Sequence[str], problem: Problem) -> bool:
    return len(said) > 1 and _number(said[-1]) == problem.left * problem.right


SUMS = Task(
    name="sums",
    asks=_asks_sum,
    replies=lambda *_: None,
    rewards=_rewards_sum,
    is_right=_is_sum,
    max_tokens=3,
    most_turns=1,
    numbers=range(6, 30),
)
CALCULATOR = Task(
    name="calculator",
    asks=_asks_product,
    replies=_calculates,
    rewards=_rewards_product,
    is_right=_is_product,
    max_tokens=12,
    most_turns=2,
    numbers=range(11, 30),
)
TASKS = {task.name: task for task in (SUMS, CALCULATOR)}
