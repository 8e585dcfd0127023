"""Which checkpoint of a model: the newest, at most a step, exactly a step, or the best by a metric.

Made once where a user asks, carried as a value to the place that chooses, and recorded in the fork. Pure: knows
numbers and names of metrics; opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from art.errors import ConfigurationError
from art.names import check_step

Mode = Literal["min", "max"]
SAY_MODE = "say mode='min' or 'max'"

LOWER_IS_BETTER = re.compile(
    "loss|nll|kl|errors?|err|perplexity|ppl|wer|cer|mse|rmse|mae|regret|cost|latency|duration|seconds|exceptions|failures"
)
HIGHER_IS_BETTER = re.compile(
    "rewards?|returns?|scores?|accuracy|acc|precision|recall|f1|auc|bleu|rouge|em|exact|match|correct|wins?|won|success(es)?"
    "|solved|pass(ed)?"
)
SAYS_NOTHING = re.compile("std|stddev|var|variance|range|spread|diff|delta|change")
"""Words that make a clear name an unclear one: the highest `reward_std` is no good news."""


@dataclass(frozen=True)
class Newest:
    """The newest checkpoint."""

    kind: Literal["newest"] = field(default="newest", kw_only=True, repr=False)

    def __str__(self) -> str:
        return "newest"


@dataclass(frozen=True)
class AtMost:
    """The newest checkpoint at or before a step."""

    step: int
    kind: Literal["at_most"] = field(default="at_most", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_step(self.step)

    def __str__(self) -> str:
        return f"at most {self.step}"


@dataclass(frozen=True)
class Exact:
    """The checkpoint at a step."""

    step: int
    kind: Literal["exact"] = field(default="exact", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_step(self.step)

    def __str__(self) -> str:
        return f"exactly {self.step}"


@dataclass(frozen=True)
class Best:
    """The checkpoint with the best value of a metric, the newest of equals.

    Without a `mode` the metric's name says whether lower or higher is better; raises `ConfigurationError` when it
    does not.
    """

    metric: str
    mode: Mode | None = None
    """Whether the lowest or the highest value is the best; never None once the value is made."""
    kind: Literal["best"] = field(default="best", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise ConfigurationError(f"{self.metric!r} is no metric; name one, as in 'val/reward'.")
        object.__setattr__(self, "mode", self.mode or mode_of(self.metric))
        if self.mode not in ("min", "max"):
            raise ConfigurationError(f"{self.mode!r} is no mode; it is 'min' (lower is better) or 'max'.")

    def __str__(self) -> str:
        return f"best {self.metric}"


Pick = Annotated[Newest | AtMost | Exact | Best, Field(discriminator="kind")]

NEWEST = Newest()


def pick_of(*, step: int | None = None, not_after: int | None = None) -> Pick:
    """Make the pick that an exact step or a limit asks for; without either it is the newest."""
    if step is not None and not_after is not None:
        raise ConfigurationError(f"Exactly {step} and at most {not_after} cannot both be chosen; leave one out.")
    if step is not None:
        return Exact(step)
    return NEWEST if not_after is None else AtMost(not_after)


def best_of(text: str, *, written: str) -> Best:
    """Read the best by a metric from one text, "val/reward" or "val/score:min"; `written` is what it stands in."""
    metric, between, mode = text.rpartition(":")
    if between and mode in ("min", "max"):
        return Best(metric, mode)
    try:
        return Best(text)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace(SAY_MODE, f"write {written}:min or {written}:max")) from error


def as_document(pick: Pick) -> dict[str, Any]:
    """Give a pick as JSON has it."""
    return asdict(pick)


def limit_of(pick: Pick) -> int | None:
    """Give the step that a pick does not go beyond, None for a pick without a limit."""
    return pick.step if isinstance(pick, AtMost | Exact) else None


def candidates(pick: Pick, steps: Collection[int], scores: Mapping[int, float]) -> list[int]:
    """Order the steps that a pick may choose, the one it wants first; `scores` are the values of its metric, if any."""
    match pick:
        case Exact(step):
            return [step] if step in steps else []
        case Best():
            values = {step: value for step, value in scores.items() if step in steps}
            sign = -1 if pick.mode == "min" else 1
            return sorted(values, key=lambda step: (sign * values[step], step), reverse=True)
        case Newest() | AtMost():
            # By number: "10000" < "9999" as text.
            limit = limit_of(pick)
            return sorted((step for step in steps if limit is None or step <= limit), reverse=True)


def is_asked_again(before: Pick, now: Pick, *, chose: int, chooses: int) -> bool:
    """Tell whether one request was repeated, though it chooses another step now, because its source moved on.

    Of the same limit a source only ever yields later steps: an earlier one was asked for on purpose. The best may
    turn up on either side.
    """
    return before == now and (isinstance(now, Best) or chose < chooses)


def mode_of(metric: str) -> Mode:
    """Tell from a metric's name whether lower or higher is better; raises `ConfigurationError` when it is unclear."""
    words = _words(metric)
    lower, higher, unclear = (
        any(map(vocabulary.fullmatch, words)) for vocabulary in (LOWER_IS_BETTER, HIGHER_IS_BETTER, SAYS_NOTHING)
    )
    if unclear or lower == higher:
        raise ConfigurationError(
            f"Whether a lower or a higher {metric!r} is better does not follow from its name; {SAY_MODE}."
        )
    return "min" if lower else "max"


def _words(metric: str) -> set[str]:
    name = re.sub(r"([a-z])([A-Z])", r"\1 \2", metric.rpartition("/")[2])
    return set(re.findall(r"[a-z]+\d*", name.lower()))
