"""How long a block of code takes, added to a metric; and how long several things took that ran at once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any, Self, TypeVar

T = TypeVar("T")
Period = tuple[float, float]
"""When something began and ended, in seconds since 1970."""


class DurationTracker:
    """Adds the seconds that its block takes to a metric, also when the block raises; for `with` and `async with`.

    >>> metrics = {}
    >>> with DurationTracker(metrics, "answer_duration"):
    ...     pass
    >>> metrics["answer_duration"] < 1
    True
    """

    def __init__(self, metrics: MutableMapping[str, Any], name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._began_s: list[float] = []  # a stack, because one tracker may be entered again inside itself

    def __enter__(self) -> Self:
        self._began_s.append(time.perf_counter())
        return self

    def __exit__(self, *_: object) -> None:
        taken_s = time.perf_counter() - self._began_s.pop()
        self._metrics[self._name] = self._metrics.get(self._name, 0.0) + taken_s

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


async def timed(rollout: Awaitable[T]) -> T:
    """Wait for a rollout, or for one that makes a group, and note with each trajectory when it ran."""
    began_s = time.time()
    result: Any = await rollout
    several = getattr(result, "trajectories", result)
    for trajectory in several if isinstance(several, list | tuple) else (several,):
        if hasattr(trajectory, "ran") and trajectory.ran is None:
            trajectory.ran = (began_s, time.time())
    return result


def covered_s(periods: Iterable[Period]) -> float:
    """Give the seconds in which at least one of them ran.

    >>> covered_s([(0.0, 2.0), (1.0, 3.0), (10.0, 10.5)])
    3.5
    """
    covered, reached = 0.0, float("-inf")
    for began, ended in sorted(periods):
        covered += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return covered
