"""Numbers of a step that a script adds up itself: costs, times, amounts of data.

They wait in a builder until the model's next `log` writes them, with what they come to since the run began. Knows
numbers and their names; knows no backend.
"""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from art.absent import SaysInstead, instead_in
from art.errors import ConfigurationError
from art.prices import Prices, cost_of, listed_prices, stated_cost
from art.settings import nearest

F = TypeVar("F", bound=Callable[..., Any])

COSTS, CUMULATIVE = "costs", "cum"
ADDED_UP = (COSTS, "time", "data")
"""The sections whose numbers are added up over steps."""
RATES = {
    "throughput/avg_trainer_tok_per_s": ("data/cum/trainable_assistant_tokens", "time/cum/backend_train_s"),
    "throughput/avg_rollout_tok_per_s": ("data/cum/rollout_tokens", "time/cum/rollout_s"),
    "throughput/avg_actor_tok_per_s": ("data/cum/actor_tokens", "time/cum/actor_s"),
}
"""What is said of two totals when one of them has grown: tokens over seconds."""
_active: ContextVar[MetricsBuilder | None] = ContextVar("art_metrics_builder", default=None)


@dataclass
class _Book:
    """What the builders of one model share."""

    waiting: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])
    """By context, what the next `flush` gives."""
    scenarios: dict[str, set[str]] = field(default_factory=dict[str, "set[str]"])
    totals: Counter[str] = field(default_factory=Counter)
    known_scenarios: set[str] = field(default_factory=set[str])
    prices: dict[str, Prices] = field(default_factory=dict[str, Prices])
    extractors: dict[str, Callable[[Any], float | None]] = field(
        default_factory=dict[str, "Callable[[Any], float | None]"]
    )


class MetricsBuilder(SaysInstead):
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
        provider: str = "",
        model_name: str,
        **prices_per_million: float | None,
    ) -> float | None:
        """Add what a completion cost, and give it; None where its tokens or their prices are not known.

        That is what the answer says by itself, else what the provider's extractor finds in it, else its tokens at the
        prices given (`prompt_price_per_million=`, say), those of `register_model_pricing` or those that LiteLLM lists.
        """
        extract = self._book.extractors.get(provider.lower())
        cost = stated_cost(response)
        if cost is None and extract is not None:
            cost = extract(response)
        if cost is None:
            known = _prices(prices_per_million, "_price_per_million").over(self._book.prices.get(model_name, Prices()))
            complete = known.prompt is not None and known.completion is not None
            cost = cost_of(response, known if complete else known.over(listed_prices(model_name)))
        if cost is not None:
            self.add_cost(f"{self.cost_context}/{source.strip('/')}", cost)
        return cost

    def register_model_pricing(self, model_name: str, **per_million: float | None) -> None:
        """Note what a million of a model's tokens cost: `prompt_per_million` and `completion_per_million` dollars."""
        self._book.prices[model_name] = _prices(per_million, "_per_million")

    def register_cost_extractor(self, provider: str, extractor: Callable[[Any], float | None]) -> None:
        """Note how to find in a provider's answer what it cost."""
        self._book.extractors[provider.lower()] = extractor

    def add_data(
        self,
        step_num_scenarios: int | None = None,
        step_rollout_tokens: int | None = None,
        scenario_ids: Iterable[str] | None = None,
        step_actor_tokens: int | None = None,
    ) -> None:
        """Add what a step was made of; scenarios that were seen before count once. ART's actor is now the rollout."""
        self._add("data", step_num_scenarios=step_num_scenarios, step_rollout_tokens=step_rollout_tokens)
        self._add("data", step_actor_tokens=step_actor_tokens)
        self._book.scenarios.setdefault(self.cost_context, set()).update(map(str, scenario_ids or ()))

    def add_user_timing(
        self,
        step_wall_s: float | None = None,
        step_rollout_s: float | None = None,
        step_eval_s: float | None = None,
        step_actor_s: float | None = None,
    ) -> None:
        """Add seconds that the script measured."""
        self._add("time", step_wall_s=step_wall_s, step_rollout_s=step_rollout_s, step_eval_s=step_eval_s)
        self._add("time", step_actor_s=step_actor_s)

    def add_idle_times(
        self,
        step_trainer_idle_s: float | None = None,
        step_rollout_idle_s: float | None = None,
        step_actor_idle_s: float | None = None,
    ) -> None:
        """Add seconds in which the trainer or the rollouts waited."""
        self._add("time", step_trainer_idle_s=step_trainer_idle_s, step_rollout_idle_s=step_rollout_idle_s)
        self._add("time", step_actor_idle_s=step_actor_idle_s)

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
        values = {**added, **{name: self._book.totals[name] for name in totals}, **self._rates(totals)}
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
    def find_active() -> MetricsBuilder | None:
        """Give the builder that is active here, None where none is."""
        return _active.get()

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

    def _rates(self, grown: Collection[str]) -> dict[str, float]:
        known = {name: (self._book.totals[tokens], self._book.totals[time_s], tokens in grown or time_s in grown)
                 for name, (tokens, time_s) in RATES.items()}  # fmt: skip
        return {name: tokens / time_s for name, (tokens, time_s, has_grown) in known.items() if has_grown and time_s}

    def _waiting(self) -> Counter[str]:
        return self._book.waiting.setdefault(self.cost_context, Counter())


def track_api_cost(
    *,
    source: str,
    provider: str,
    model_name: str,
    response_getter: Callable[[Any], Any] | None = None,
    **prices_per_million: float | None,
) -> Callable[[F], F]:
    """Make a decorator: what the function's completion cost is added to the builder that is active when it returns.

    A function that returns more than the completion has a `response_getter`. A cost that nobody knows is said once.
    """
    unknown = f"Nobody says what {model_name} costs, so {source!r} is not counted; register_model_pricing does."

    def add(result: Any) -> None:
        builder = _active.get()
        if builder is None:
            return
        response = result if response_getter is None else response_getter(result)
        cost = builder.add_response_cost(
            source, response, provider=provider, model_name=model_name, **prices_per_million
        )
        if cost is None:
            warnings.warn(unknown, stacklevel=3)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        async def awaited(*args: Any, **options: Any) -> Any:
            result = await function(*args, **options)
            add(result)
            return result

        @functools.wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            add(result)
            return result

        return cast(F, awaited if inspect.iscoroutinefunction(function) else called)

    return decorate


def _prices(given: Mapping[str, float | None], suffix: str) -> Prices:
    """Read prices by the names that ART's keywords have."""
    ours = {"prompt": "prompt", "completion": "completion", "cache_creation": "cache_writing", "cache_read": "cached"}
    ours = {f"{theirs}{suffix}": name for theirs, name in {**ours, "cached_prompt": "cached"}.items()}
    for name in given:
        if name not in ours:
            raise ConfigurationError(f"There is no price {name!r}.{nearest(name, ours)}")
    return Prices(**{ours[name]: price for name, price in given.items() if price is not None})


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


__getattr__ = instead_in(__name__)
