"""How often a form branches: what a parser of it has to follow at once. Knows schemas, and grammars as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

MOST_BRANCHES = 200
"""Of a form. The time of one mask grows with the third power: a third of a second here, two for 300 rules that may each
begin with any other, minutes for a thousand."""
_UNIONS = ("anyOf", "oneOf")
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"i?|/(?:[^/\\\n]|\\.)+/[a-z]*|(?://|#)[^\n]*')
_NAME = re.compile(r"^\s*[?!]?\w+[^:\n|]*:", re.MULTILINE)
_RULE = re.compile(r"\b[a-z_]\w*")


def branches_of_schema(schema: object) -> int:
    """Count the alternatives in a schema, however deep."""
    count, level = 0, [schema]
    while level:
        count += sum(map(_alternatives, level))
        level = [inner for value in level for inner in _inside(value)]
    return count


def branches_of_grammar(text: str) -> int:
    """Count the alternatives in a grammar of Lark's that lead to other rules; a choice of literals costs nothing."""
    bare = _NAME.sub("", _LITERAL.sub("", text))
    unions = bare.count(",") if "%json" in text else 0
    return unions + sum(_RULE.search(alternative) is not None for alternative in re.split(r"[|\n]", bare))


def _alternatives(value: object) -> int:
    if not isinstance(value, Mapping):
        return 0
    unions = (cast("Mapping[str, Any]", value).get(name) for name in _UNIONS)
    return sum(len(cast("list[Any]", union)) for union in unions if isinstance(union, list))


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()
