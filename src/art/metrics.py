"""Numbers of a step that a script adds up itself: costs, times, amounts of data.

They wait in a builder until the model's next `log` writes them, with what they come to since the run began. Knows
numbers and their names; knows no backend.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any

from art.errors import ConfigurationError

COSTS, CUMULATIVE = "costs", "cum"
ADDED_UP = (COSTS, "time", "data")
"""The sections whose numbers are added up over steps."""
MILLION = 1_000_000
_active: ContextVar[MetricsBuilder | None] = ContextVar("art_metrics_builder", default=None)


@dataclass
class _Book:
    """What the builders of one model share."""

    waiting: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])
    """By context, what the next `flush` gives."""
    scenarios: dict[str, set[str]] = field(default_factory=dict[str, "set[str]"])
    totals: Counter[str] = field(default_factory=Counter)
    known_scenarios: set[str] = field(default_factory=set[str])
    prices: dict[str, tuple[float, float]] = field(default_factory=dict[str, "tuple[float, float]"])


class MetricsBuilder:
    """Adds up what a step cost, took and used, for one context of costs: `train`, `eval` or one of your own.

    >>> builder = MetricsBuilder("train")
    >>> builder.add_cost("train/judge", 0.25)
    >>> builder.flush_now()["costs/train"]
    0.25
    """

    def __init__(self, cost_context: str, *, _book: _Book | None = None) -> None:
        if not cost_context.strip():
            raise ConfigurationError("cost_context is empty; name what costs, such as 'train' or 'eval'.")
        self.cost_context = cost_context.strip()
        self._book = _book or _Book()

    def for_cost_context(self, cost_context: str) -> MetricsBuilder:
        """Give the builder of another context, which shares the totals."""
        return MetricsBuilder(cost_context, _book=self._book)

    def add_metric(self, key: str, value: float) -> None:
        """Add to a number; its name begins with a section, as `time/step_wall_s` does."""
        parts = key.split("/")
        if len(parts) < 2 or not all(parts) or parts[1] == CUMULATIVE:
            raise ConfigurationError(
                f"The metric {key!r} needs a section and a name, such as 'data/step_tokens'; cum/ is for totals."
            )
        waiting = self._waiting()
        for known in waiting:
            if known.startswith(f"{key}/") or key.startswith(f"{known}/"):
                raise ConfigurationError(
                    f"The metric {key!r} cannot stand beside {known!r}: one is a part of the other."
                )
        waiting[key] += float(value)  # pyright: ignore[reportArgumentType] - a sum of floats

    def add_cost(self, path: str, usd: float) -> None:
        """Add a cost in dollars; `costs/` is put before its path, and costs add up along it."""
        self.add_metric(f"{COSTS}/{path}", usd)

    def add_response_cost(
        self,
        source: str,
        response: Any,
        *,
        model_name: str,
        prompt_price_per_million: float | None = None,
        completion_price_per_million: float | None = None,
        **_: Any,
    ) -> float | None:
        """Add what a completion cost by its `usage`, and give it; None where the prices are not known.

        Prices are those given, or those of `register_model_pricing`.
        """
        known = self._book.prices.get(model_name, (None, None))
        read = known[0] if prompt_price_per_million is None else prompt_price_per_million
        written = known[1] if completion_price_per_million is None else completion_price_per_million
        usage = getattr(response, "usage", None)
        if usage is None or read is None or written is None:
            return None
        cost = (usage.prompt_tokens * read + usage.completion_tokens * written) / MILLION
        self.add_cost(f"{self.cost_context}/{source.strip('/')}", cost)
        return cost

    def register_model_pricing(
        self, model_name: str, *, prompt_per_million: float, completion_per_million: float, **_: Any
    ) -> None:
        """Note what a model's tokens cost, in dollars for a million."""
        self._book.prices[model_name] = (prompt_per_million, completion_per_million)

    def add_data(
        self,
        step_num_scenarios: int | None = None,
        step_rollout_tokens: int | None = None,
        scenario_ids: Iterable[str] | None = None,
    ) -> None:
        """Add what a step was made of; scenarios that were seen before count once."""
        self._add("data", step_num_scenarios=step_num_scenarios, step_rollout_tokens=step_rollout_tokens)
        self._book.scenarios.setdefault(self.cost_context, set()).update(map(str, scenario_ids or ()))

    def add_user_timing(
        self,
        step_wall_s: float | None = None,
        step_rollout_s: float | None = None,
        step_eval_s: float | None = None,
    ) -> None:
        """Add seconds that the script measured."""
        self._add("time", step_wall_s=step_wall_s, step_rollout_s=step_rollout_s, step_eval_s=step_eval_s)

    def add_idle_times(
        self, step_trainer_idle_s: float | None = None, step_rollout_idle_s: float | None = None
    ) -> None:
        """Add seconds in which the trainer or the rollouts waited."""
        self._add("time", step_trainer_idle_s=step_trainer_idle_s, step_rollout_idle_s=step_rollout_idle_s)

    @contextmanager
    def measure(self, key: str) -> Generator[None]:
        """Add the seconds of a block, also of one that raises."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.add_metric(key, time.monotonic() - began_s)

    async def flush(self) -> dict[str, float]:
        """Give what waits in this context with its totals, and begin the next step."""
        return self.flush_now()

    def flush_now(self) -> dict[str, float]:
        """Do what `flush` does, where nothing can be awaited."""
        added = dict(self._book.waiting.pop(self.cost_context, Counter[str]()))
        added |= _along_paths({name: value for name, value in added.items() if name.startswith(f"{COSTS}/")})
        totals = {_total_of(name): value for name, value in added.items() if name.split("/")[0] in ADDED_UP}
        self._book.totals.update(totals)  # pyright: ignore[reportCallIssue, reportArgumentType] - sums of floats
        values = {**added, **{name: self._book.totals[name] for name in totals}}
        if scenarios := self._book.scenarios.pop(self.cost_context, set[str]()):
            self._book.known_scenarios |= scenarios
            values["data/cum/num_unique_scenarios"] = float(len(self._book.known_scenarios))
        return {name: float(value) for name, value in values.items()}

    def activate(self) -> Token[MetricsBuilder | None]:
        """Make this the builder that `get_active` gives from here on."""
        return _active.set(self)

    @contextmanager
    def activate_context(self) -> Generator[MetricsBuilder]:
        """Make this the builder that `get_active` gives inside the block."""
        token = self.activate()
        try:
            yield self
        finally:
            _active.reset(token)

    @staticmethod
    def get_active() -> MetricsBuilder:
        """Give the builder that is active here; raises `ConfigurationError` where none is."""
        builder = _active.get()
        if builder is None:
            raise ConfigurationError("No MetricsBuilder is active here; use `with builder.activate_context():`.")
        return builder

    def state_dict(self) -> dict[str, Any]:
        """Give the totals, as JSON has a form for them."""
        return {"totals": dict(self._book.totals), "scenarios": sorted(self._book.known_scenarios)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from totals that `state_dict` gave."""
        self._book.totals = Counter(state.get("totals", {}))
        self._book.known_scenarios = set(state.get("scenarios", ()))

    def _add(self, section: str, **values: float | None) -> None:
        for name, value in values.items():
            if value is not None:
                self.add_metric(f"{section}/{name}", value)

    def _waiting(self) -> Counter[str]:
        return self._book.waiting.setdefault(self.cost_context, Counter())


def __getattr__(name: str) -> Any:
    if name == "track_api_cost":
        raise ImportError(
            "There is no art.metrics.track_api_cost here, as artfork knows no provider's prices. Give them, and the "
            "completion, to model.metrics_builder(context).add_response_cost(...).",
            name=__name__,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _along_paths(costs: Mapping[str, float]) -> dict[str, float]:
    """Add costs up along their paths, and all of them as `costs/all`."""
    sums: Counter[str] = Counter()
    for name, value in costs.items():
        parts = name.split("/")
        for depth in range(2, len(parts)):
            sums["/".join(parts[:depth])] += value  # pyright: ignore[reportArgumentType] - a sum of floats
        sums[f"{COSTS}/all"] += value  # pyright: ignore[reportArgumentType] - a sum of floats
    return {name: float(value) for name, value in sums.items()}


def _total_of(name: str) -> str:
    section, rest = name.split("/", 1)
    return f"{section}/{CUMULATIVE}/{rest.removeprefix('step_')}"
