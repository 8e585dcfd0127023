"""What became of a run, and by what evidence: values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What became of a run."""

    HEALTHY = "healthy"
    COLLAPSED = "collapsed"
    HELD_OUT_FELL = "held-out fell"
    NO_SIGNAL = "no signal"
    DRIFTED = "drifted"
    """Trainer and sampler no longer find the same answers likely."""
    UNKNOWN = "unknown"
    """There is no reward in its history."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A signal that left its range: since which step, from which level to which value."""

    metric: str
    step: int
    value: float
    baseline: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The state of a run, and for one that went wrong: since when, and the last step before any sign of it."""

    state: State
    onset: int | None = None
    last_good: int | None = None
    level: float | None = None
    """The reward before the fall."""
    now: float | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_alarm(self) -> bool:
        return self.state in (State.COLLAPSED, State.HELD_OUT_FELL, State.NO_SIGNAL, State.DRIFTED)
