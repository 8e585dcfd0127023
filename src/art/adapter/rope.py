"""Positions whose meaning depends on the length of what is read: where LongRoPE takes other frequencies.

The model takes them for a whole pass, by the largest position in it, so rows on the two sides never share one.
"""

from __future__ import annotations

from typing import Any


def rope_limit(config: Any) -> int | None:
    """Give how many tokens a row of this model may have before its positions mean something else; None for no limit."""
    text = config.get_text_config(decoder=True)
    # Newer releases of transformers know the first name, older ones the second.
    values = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    if not isinstance(values, dict) or values.get("rope_type", values.get("type")) not in {"longrope", "su"}:
        return None
    limit = values.get("original_max_position_embeddings", getattr(text, "original_max_position_embeddings", None))
    return None if limit is None else int(limit)


def is_long(tokens: int, limit: int | None) -> bool:
    """Say whether a row of so many tokens lies beyond the limit."""
    return limit is not None and tokens > limit
