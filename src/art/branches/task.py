"""What a worker is asked for, and what comes of it: values that cross a process as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from pydantic import JsonValue, TypeAdapter

from art.errors import ConfigurationError
from art.format.manifest import Parent
from art.names import ModelRef


def is_count(value: object) -> bool:
    """Tell whether a user gave a whole number; True is an int, too."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_amount(value: object) -> bool:
    """Tell whether a user gave a number that JSON has."""
    return is_count(value) or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a branch is done: after so many steps, so many trained tokens, or so many seconds, whichever comes first.

    Each is counted from the fork on, over restarts.

    >>> Budget(steps=100, seconds=3600)
    Budget(steps=100, tokens=None, seconds=3600)
    """

    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_number = is_count(value) if name != "seconds" else is_amount(value)
            if value is not None and not (is_number and value > 0):
                raise ConfigurationError(f"A budget of {name}={value!r} cannot be; give a number above 0, or none.")

    @property
    def is_limited(self) -> bool:
        return any(value is not None for value in asdict(self).values())

    def is_spent(self, used: Used) -> bool:
        """Tell whether something is used up."""
        pairs = ((self.steps, used.steps), (self.tokens, used.tokens), (self.seconds, used.seconds))
        return any(limit is not None and spent >= limit for limit, spent in pairs)


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a branch has taken since its fork."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One branch, as whoever works on it is told."""

    project: str
    name: str
    settings: dict[str, JsonValue]
    source: Parent
    """The checkpoint that it begins with, and its identity."""
    base_model: str
    backend: dict[str, JsonValue]
    """What its `LocalBackend` is opened with."""
    budget: Budget = field(default_factory=Budget)
    threads: int
    """Of the worker: sums are split by it, so bits depend on it."""

    @property
    def model(self) -> ModelRef:
        return ModelRef(self.project, self.name)

    def to_json(self) -> str:
        return _TASK.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return _TASK.validate_json(text)  # pyright: ignore[reportReturnType] - it is made as a Task


class Outcome(StrEnum):
    """How it went with a branch."""

    FINISHED = "finished"
    FAILED = "failed"
    """Its own code raised; what it committed before is there."""
    LOST = "lost"
    """Its worker was killed too often, or there was no room for it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one branch."""

    project: str
    name: str
    settings: Mapping[str, Any]
    outcome: Outcome
    first: int
    """The step of the fork."""
    step: int
    """Where it stands now."""
    used: Used = field(default_factory=Used)
    reward: float | None = None
    """The newest mean reward that training wrote down."""
    value: JsonValue = None
    """What the training function returned, where JSON has a form for it."""
    problem: str | None = None
    unapplied: tuple[str, ...] = ()
    """Settings of `TrainConfig` that its newest step was not made with."""
    restarts: int = 0

    @property
    def model(self) -> ModelRef:
        return ModelRef(self.project, self.name)

    def to_json(self) -> str:
        return _RESULT.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return _RESULT.validate_json(text)  # pyright: ignore[reportReturnType] - it is made as a Result


_TASK, _RESULT = TypeAdapter(Task), TypeAdapter(Result)
