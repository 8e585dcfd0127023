"""Conversations without what only training reads: smaller, and fit for a log."""

from __future__ import annotations

import copy
import logging
from typing import Any, cast

from pydantic import BaseModel

SAMPLED = ("logprobs", "prompt_token_ids", "token_ids", "token_logprobs")
_log = logging.getLogger("art")


def strip_logprobs(obj: Any) -> Any:
    """Give a copy of a trajectory, choice, message or anything made of them, without log-probabilities and ids.

    What cannot be copied is given back as it is, and a warning says so: weave hands over whatever a script returns.

    >>> strip_logprobs({"choices": [{"index": 0, "logprobs": {"content": []}}]})
    {'choices': [{'index': 0}]}
    """
    try:
        return _stripped(obj)
    except Exception as error:  # noqa: BLE001 - whatever an object of a stranger's raises, a log must not stop a rollout
        _log.warning("strip_logprobs left a %s as it is, which cannot be copied: %s", type(obj).__name__, error)
        return obj


def _stripped(obj: Any) -> Any:
    if isinstance(obj, dict):
        fields = cast("dict[Any, Any]", obj)
        return {name: _stripped(field) for name, field in fields.items() if name not in SAMPLED}
    if isinstance(obj, list | tuple):
        items = [_stripped(item) for item in cast("list[Any]", obj)]
        return type(obj)(*items) if hasattr(obj, "_fields") else type(obj)(items)
    if isinstance(obj, BaseModel):
        return _stripped_model(obj)
    return obj if isinstance(obj, type) or not hasattr(obj, "__dict__") else _stripped_object(obj)


def _stripped_model(value: BaseModel) -> BaseModel:
    fields = {name: None if name in SAMPLED else _stripped(field) for name, field in vars(value).items()}
    stripped = value.model_copy(update=fields)
    extra = stripped.__pydantic_extra__ or {}
    for name in SAMPLED:
        extra.pop(name, None)
    return stripped


def _stripped_object(value: Any) -> Any:
    """Give a copy of an object of another kind; objects that it holds are not looked into."""
    stripped = copy.copy(value)
    for name, field in vars(value).items():
        if name in SAMPLED:
            setattr(stripped, name, None)
        elif isinstance(field, dict | list | tuple | BaseModel):
            setattr(stripped, name, _stripped(field))
    return stripped
