"""How a family of models writes tool calls: where one begins, what it says, and the grammar of one that must be made.

Knows text and JSON schemas; neither tokens nor HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from art.spelling import read_json

ANY_OBJECT = {"type": "object"}
SPACED: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON: a model that may choose its white space can write it for ever."""
Mark = Callable[[str], str]
"""Writes a mark of the dialect in a grammar: as text, or as the special token that it is."""


@dataclass(frozen=True)
class WrittenCall:
    """A tool call that the model wrote."""

    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A function that may be called."""

    name: str
    parameters: dict[str, Any]


Parsed = tuple[str, list[WrittenCall]] | None
"""The content around the calls and the calls; None where there is no call, or one that cannot be read."""


class Dialect(Protocol):
    """One way to write calls."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts around calls that may be special tokens, and are read all the same."""
        ...

    @property
    def call_start(self) -> str | None:
        """The text that stands before each call; None where calls are told apart otherwise."""
        ...

    def call_id(self, name: str) -> str:
        """Give a call's id; `name` is 24 characters that tell it from others."""
        ...

    def certain(self, text: str) -> int:
        """Give how many characters from the start are content, whatever follows."""
        ...

    def parse(self, text: str, offered: Sequence[Offered]) -> Parsed:
        """Split a whole answer into content and calls."""
        ...

    def grammar(self, offered: Sequence[Offered], mark: Mark) -> str:
        """Give the grammar, in Lark's form, of one call to one of the functions."""
        ...


def before_any(text: str, marks: Sequence[str], overlap: Callable[[str, str], int]) -> int:
    """Give where the first of the marks may begin, without the white space before it."""
    positions = [at for at in map(text.find, marks) if at >= 0]
    end = min(positions) if positions else len(text) - max(overlap(text, mark) for mark in marks)
    return len(text[:end].rstrip())


def read_call(value: object, *names: str) -> WrittenCall | None:
    """Read a call from JSON that has a name, and arguments under one of `names`."""
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    name = fields.get("name")
    arguments = next((fields[each] for each in names if each in fields), {})
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments)
        except ValueError:
            return None
    if not isinstance(arguments, dict) or not isinstance(name, str) or not name:
        return None
    return WrittenCall(name, json.dumps(arguments, ensure_ascii=False))


def all_or_none(content: str, calls: Sequence[WrittenCall | None]) -> Parsed:
    good = [call for call in calls if call]
    return (content, good) if good and len(good) == len(calls) else None


def object_rules(offered: Sequence[Offered], key: str) -> list[str]:
    """Give the rules `call`, which is one of the functions as a JSON object. Each schema stands alone, so that its
    references hold."""
    either = " | ".join(f"call_{at}" for at in range(len(offered)))
    rules = [f"call: {either}"]
    for at, function in enumerate(offered):
        opening = json.dumps(f'{{"name": {json.dumps(function.name)}, "{key}": ')
        rules.append(f'call_{at}: {opening} arguments_{at} "}}"')
        rules.append(f"arguments_{at}: {schema_rule(function.parameters)}")
    return rules


def schema_rule(schema: dict[str, Any]) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': SPACED})}"
