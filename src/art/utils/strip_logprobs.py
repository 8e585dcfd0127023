"""Conversations without what only training reads: smaller, and fit for a log."""

from __future__ import annotations

import copy
from typing import Any, cast

from pydantic import BaseModel

SAMPLED = ("logprobs", "prompt_token_ids", "token_ids", "token_logprobs")


def strip_logprobs(obj: Any) -> Any:
    """Give a copy of a trajectory, choice, message or anything of lists and dicts, without log-probabilities and ids.

    >>> strip_logprobs({"choices": [{"index": 0, "logprobs": {"content": []}}]})
    {'choices': [{'index': 0}]}
    """
    if isinstance(obj, dict):
        fields = cast("dict[Any, Any]", obj)
        return {name: strip_logprobs(field) for name, field in fields.items() if name not in SAMPLED}
    if isinstance(obj, list | tuple):
        return type(obj)(strip_logprobs(item) for item in cast("list[Any]", obj))
    if isinstance(obj, BaseModel):
        return _stripped_model(obj)
    return copy.copy(obj)


def _stripped_model(value: BaseModel) -> BaseModel:
    fields = {name: None if name in SAMPLED else strip_logprobs(field) for name, field in vars(value).items()}
    stripped = value.model_copy(update=fields)
    extra = stripped.__pydantic_extra__ or {}
    for name in SAMPLED:
        extra.pop(name, None)
    return stripped
