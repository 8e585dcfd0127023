"""Which checkpoints of a model stay: policies that compose, each with its reason. Pure: decides, and deletes nothing.

A checkpoint stays when any policy keeps it. Whatever the policies are, the newest stays, and what somebody needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from art.errors import ConfigurationError
from art.format.pick import Best, best_of, candidates

FORMS = "newest:2, best:val/reward, best:val/loss:min, every:100, younger:7d, forks, pinned"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
DURATION = re.compile(r"(\d{1,6})([smhdw])")
Reasons = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a model's checkpoints."""

    steps: Sequence[int]
    """Lowest first."""
    whole: int | None
    """The newest one that can be opened: what goes on, goes on from there."""
    created: Mapping[int, datetime]
    scores: Callable[[str], Mapping[int, float]]
    """The values of a metric by step; empty where it was never logged."""
    needed: Reasons
    """Steps that stay in any case, and why."""
    now: datetime


class KeepPolicy(Protocol):
    """Keeps some steps."""

    def kept(self, facts: Facts) -> Mapping[int, str]:
        """Map the steps that stay to the reason."""
        ...


@dataclass(frozen=True)
class KeepNewest:
    """The last `count` steps."""

    count: int

    def kept(self, facts: Facts) -> Mapping[int, str]:
        steps = facts.steps[len(facts.steps) - self.count :] if self.count < len(facts.steps) else facts.steps
        return dict.fromkeys(steps, "newest" if self.count == 1 else f"newest {self.count}")


@dataclass(frozen=True)
class KeepBest:
    """The best step by a metric. Before the metric is logged nothing is known to be worse, so everything stays."""

    best: Best

    def kept(self, facts: Facts) -> Mapping[int, str]:
        chosen = candidates(self.best, facts.steps, facts.scores(self.best.metric))
        if not chosen:
            return dict.fromkeys(facts.steps, f"no {self.best.metric} yet")
        return {chosen[0]: str(self.best)}


@dataclass(frozen=True)
class KeepEvery:
    """Every step that a number divides."""

    interval: int

    def kept(self, facts: Facts) -> Mapping[int, str]:
        return {step: f"every {self.interval}" for step in facts.steps if step % self.interval == 0}


@dataclass(frozen=True)
class KeepYounger:
    """What was made within a time; a checkpoint whose age nobody knows counts as young."""

    age: timedelta
    text: str

    def kept(self, facts: Facts) -> Mapping[int, str]:
        young, made = list[int](), datetime.min.replace(tzinfo=UTC)
        for step in facts.steps:
            # None is older than the one that it continues, whatever the clock said.
            made = max(made, facts.created.get(step, made))
            if step not in facts.created or facts.now - made < self.age:
                young.append(step)
        return dict.fromkeys(young, f"younger than {self.text}")


@dataclass(frozen=True)
class KeepNeeded:
    """What is kept in any case, said once more."""

    word: Literal["forks", "pinned"]

    def kept(self, facts: Facts) -> Mapping[int, str]:
        return {}


def why_kept(policies: Iterable[KeepPolicy], facts: Facts) -> Reasons:
    """Map the steps that stay to every reason for it; what is missing can go."""
    reasons: dict[int, list[str]] = {step: list(facts.needed.get(step, ())) for step in facts.steps}
    if facts.whole is not None:
        reasons[facts.whole].append("newest")
    for policy in policies:
        for step, why in policy.kept(facts).items():
            reasons[step].append(why)
    return {step: tuple(dict.fromkeys(whys)) for step, whys in reasons.items() if whys}


def policies_of(text: str | Iterable[str]) -> tuple[KeepPolicy, ...]:
    """Read policies, as in "newest:2, best:val/reward"; raises `ConfigurationError` for what is none."""
    words = text.split(",") if isinstance(text, str) else list(text)
    policies = tuple(_policy(word.strip()) for word in words if word.strip())
    if not policies:
        raise ConfigurationError(f"No policy says what to keep; write some of {FORMS}.")
    return policies


def _policy(word: str) -> KeepPolicy:
    name, _, value = word.partition(":")
    match name:
        case "newest":
            return KeepNewest(_count(word, value))
        case "every":
            return KeepEvery(_count(word, value))
        case "best":
            return KeepBest(best_of(value, written=word))
        case "younger":
            return KeepYounger(_age(word, value), value)
        case "forks" | "pinned" if not value:
            return KeepNeeded(name)
        case _:
            raise ConfigurationError(f"{word!r} is no policy; write some of {FORMS}.")


def _count(word: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9 and int(text)):
        raise ConfigurationError(f"{word!r} needs a whole number above 0, as in newest:2 or every:100.")
    return int(text)


def _age(word: str, text: str) -> timedelta:
    match = DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{word!r} needs a time: younger:7d, with one of {', '.join(UNITS)}.")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])
