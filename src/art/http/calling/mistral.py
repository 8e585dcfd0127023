"""Calls as Mistral writes them: `[TOOL_CALLS]`, then a JSON list, or in newer models each name, `[ARGS]`, arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from art.http.calling.dialect import (
    Mark,
    Offered,
    Parsed,
    WrittenCall,
    all_or_none,
    before_any,
    object_rules,
    read_call,
    schema_rule,
)
from art.http.thinking import overlap
from art.spelling import read_json

CALLS, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"


@dataclass(frozen=True)
class Mistral:
    """The older form lists the calls; the newer one, of `[ARGS]`, writes each by itself."""

    is_listing: bool
    marks: tuple[str, ...] = (CALLS, ARGUMENTS)
    call_start: str | None = CALLS

    def call_id(self, name: str) -> str:
        return name[:9]  # Mistral's templates refuse any other length

    def certain(self, text: str) -> int:
        return before_any(text, (CALLS,), overlap)

    def parse(self, text: str, offered: Sequence[Offered]) -> Parsed:
        content, *parts = text.split(CALLS)
        calls = [call for part in parts for call in (_read_named(part) if ARGUMENTS in part else _read_list(part))]
        return all_or_none(content.rstrip(), calls)

    def grammar(self, offered: Sequence[Offered], mark: Mark) -> str:
        if self.is_listing:
            return "\n".join([f'start: {mark(CALLS)} "[" call "]"', *object_rules(offered, "arguments")])
        rules = [f"start: {mark(CALLS)} ({' | '.join(f'call_{at}' for at in range(len(offered)))})"]
        for at, function in enumerate(offered):
            rules.append(f"call_{at}: {json.dumps(function.name)} {mark(ARGUMENTS)} arguments_{at}")
            rules.append(f"arguments_{at}: {schema_rule(function.parameters)}")
        return "\n".join(rules)


def _read_list(text: str) -> list[WrittenCall | None]:
    try:
        value = read_json(text)
    except ValueError:
        return [None]
    calls = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [read_call(each, "arguments") for each in calls]


def _read_named(text: str) -> list[WrittenCall | None]:
    name, _, arguments = text.partition(ARGUMENTS)
    try:
        return [read_call({"name": name.strip(), "arguments": read_json(arguments)}, "arguments")]
    except ValueError:
        return [None]
