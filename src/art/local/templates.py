"""The chat template of one model, where a script sets ART's `chat_template` or the values that a template is given.

Values become a part of the template, so that inference and training write a conversation alike. Knows Jinja's spelling.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from art.errors import ConfigurationError
from art.format.manifest import TEMPLATE
from art.visible import shown_value

VALUES, TEXT, FILE = "chat_template_kwargs", "chat_template", "chat_template_path"


def with_template(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Give the tokenizer with the chat template that `_internal_config` asks for; itself where nothing is asked.

    A request's own `chat_template_kwargs` come first. Raises `ConfigurationError`.
    """
    values, text = settings.get(VALUES) or {}, _text(settings)
    if not values and text is None:
        return tokenizer
    own = copy.copy(tokenizer)
    template: Any = tokenizer.chat_template if text is None else text
    start = "".join(_default(own, name, value) for name, value in _mapping(values).items())
    if isinstance(template, dict):
        named = cast("dict[str, str]", template)
        own.chat_template = {name: start + each for name, each in named.items()}  # pyright: ignore[reportAttributeAccessIssue]
    elif template is not None:  # a tokenizer without one speaks ChatML, which no value changes
        own.chat_template = start + template
    return own


def with_recorded(tokenizer: PreTrainedTokenizerBase, environment: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Give the tokenizer with the chat template that a checkpoint's script had set; itself where it set none."""
    if TEMPLATE not in environment:
        return tokenizer
    own = copy.copy(tokenizer)
    own.chat_template = environment[TEMPLATE]
    return own


def _text(settings: Mapping[str, Any]) -> str | None:
    text, path = settings.get(TEXT), settings.get(FILE)
    if text is not None and path is not None:
        raise ConfigurationError(f"_internal_config has both {TEXT} and {FILE}; name the template once.")
    if path is None:
        return text
    try:
        return Path(path).read_text()
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{FILE}={shown_value(path)} cannot be read: {error}") from error


def _mapping(values: object) -> Mapping[str, Any]:
    if isinstance(values, Mapping):
        return cast("Mapping[str, Any]", values)
    raise ConfigurationError(f"{VALUES}={shown_value(values)}: give a mapping of names and values.")


def _default(tokenizer: PreTrainedTokenizerBase, name: object, value: object) -> str:
    """Write what sets a variable where the request does not."""
    reserved = {*inspect.signature(tokenizer.apply_chat_template).parameters, "messages"}
    if not isinstance(name, str) or not name.isidentifier() or name in reserved:
        raise ConfigurationError(f"{VALUES} must not set {shown_value(name)}.")
    try:
        literal = repr(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{VALUES}: {name} is {shown_value(value)}, which JSON has no form for.") from error
    return f"{{% set {name} = {name} if {name} is defined else {literal} %}}"
