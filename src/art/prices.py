"""What a completion cost: by what the provider says, or by its tokens and their prices.

Knows the fields that OpenAI, Anthropic and LiteLLM give an answer; the prices of providers are LiteLLM's, an extra.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Dollars for a million tokens; None where nobody has said."""

    prompt: float | None = None
    completion: float | None = None
    cached: float | None = None
    """Of prompt tokens that the provider had cached; as `prompt` where nobody has said."""
    cache_writing: float | None = None
    """Of prompt tokens that the provider put into its cache; as `prompt` where nobody has said."""

    def over(self, others: Prices) -> Self:
        """Give these prices, and the others' where these say nothing."""
        counted = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self)(
            **{name: getattr(others, name) if price is None else price for name, price in counted.items()}
        )


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """How many tokens a completion took, and whether a provider had seen them before."""

    prompt: float
    completion: float
    cached: float
    cache_writing: float


def cost_of(response: Any, prices: Prices) -> float | None:
    """Give what a completion cost, None without its tokens or their prices."""
    tokens = _tokens(response)
    if tokens is None or prices.prompt is None or prices.completion is None:
        return None
    cached = prices.prompt if prices.cached is None else prices.cached
    writing = prices.prompt if prices.cache_writing is None else prices.cache_writing
    prompt = tokens.prompt * prices.prompt + tokens.cached * cached + tokens.cache_writing * writing
    return (prompt + tokens.completion * prices.completion) / MILLION


def stated_cost(response: Any) -> float | None:
    """Give the dollars that the provider's answer itself names, None where it names none."""
    usage = _field(response, "usage")
    stated = _field(usage, "cost")
    if stated is None:
        stated = _field(_field(usage, "model_extra"), "cost")
    return _number(_field(stated, "total_cost") if _number(stated) is None else stated)


@functools.cache
def listed_prices(model_name: str) -> Prices:
    """Give the prices that LiteLLM's table has for a model; none without LiteLLM, or for a model that it lacks."""
    try:
        table: Mapping[str, Mapping[str, Any]] = importlib.import_module("litellm").model_cost
    except ImportError:
        return Prices()
    listed = table.get(model_name) or table.get(model_name.partition("/")[2]) or {}
    named = {
        "prompt": "input_cost_per_token",
        "completion": "output_cost_per_token",
        "cached": "cache_read_input_token_cost",
        "cache_writing": "cache_creation_input_token_cost",
    }
    per_token = {ours: _number(listed.get(theirs)) for ours, theirs in named.items()}
    return Prices(**{name: price * MILLION for name, price in per_token.items() if price is not None})


def _tokens(response: Any) -> Tokens | None:
    usage = _field(response, "usage")
    if (counted := _number(_field(usage, "prompt_tokens"))) is not None:
        cached = min(_number(_field(_field(usage, "prompt_tokens_details"), "cached_tokens")) or 0, counted)
        completion = _number(_field(usage, "completion_tokens")) or 0
        return Tokens(prompt=counted - cached, completion=completion, cached=cached, cache_writing=0)
    if (counted := _number(_field(usage, "input_tokens"))) is None:
        return None
    return Tokens(
        prompt=counted,  # Anthropic counts without what its cache did
        completion=_number(_field(usage, "output_tokens")) or 0,
        cached=_number(_field(usage, "cache_read_input_tokens")) or 0,
        cache_writing=_number(_field(usage, "cache_creation_input_tokens")) or 0,
    )


def _field(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
