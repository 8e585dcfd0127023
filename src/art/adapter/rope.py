"""Positions whose meaning depends on the length of what is read: where LongRoPE takes other frequencies.

The model takes them for a whole pass, by the largest position in it, so rows on the two sides never share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def rope_limit(config: Any) -> int | None:
    """Give how many tokens a row of this model may have before its positions mean something else; None for no limit."""
    text = config.get_text_config(decoder=True)
    own = getattr(text, "original_max_position_embeddings", None)
    limits = [
        values.get("original_max_position_embeddings", own)
        for kind, values in _kinds(text)
        if kind in {"longrope", "su"}
    ]
    return min((int(limit) for limit in limits if limit is not None), default=None)


def is_dynamic(config: Any) -> bool:
    """Say whether positions mean something else with every further token, and keep what a longer row made of them."""
    return any(kind == "dynamic" for kind, _ in _kinds(config.get_text_config(decoder=True)))


def is_long(tokens: int, limit: int | None) -> bool:
    """Say whether a row of so many tokens lies beyond the limit."""
    return limit is not None and tokens > limit


def _kinds(text: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Give each kind of rotary embedding that the layers have, and its values."""
    # Newer releases of transformers know the first name, older ones the second.
    values = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    if not isinstance(values, Mapping):
        return
    # Layers of several kinds have values each.
    for each in (values, *values.values()):
        if isinstance(each, Mapping):
            yield each.get("rope_type", each.get("type")), each
