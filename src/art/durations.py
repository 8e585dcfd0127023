"""How long a block of code takes, added to a metric."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any, Self


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
