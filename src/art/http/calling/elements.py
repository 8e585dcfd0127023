"""Calls as Qwen3-Coder writes them: `<tool_call>` around `<function=name>`, and in it each `<parameter=name>`.

Text stays as it stands where the function's schema says so; anything else is JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from art.http.calling.dialect import Mark, Offered, Parsed, WrittenCall, schema_rule
from art.http.calling.hermes import END, START, Hermes, parse_elements
from art.spelling import read_json

FUNCTION = re.compile(r"\s*<function=([^>\n]+)>\n?(.*?)</function>\s*", re.DOTALL)
PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
TEXT = r"/(.|\n)*/"


class Elements(Hermes):
    """Hermes's marks, and in them one element for each call and each argument."""

    def parse(self, text: str, offered: Sequence[Offered]) -> Parsed:
        known = {function.name: function.parameters for function in offered}
        return parse_elements(text, lambda element: _read(element, known))

    def grammar(self, offered: Sequence[Offered], mark: Mark) -> str:
        rules = [f'start: {mark(START)} "\\n" ({" | ".join(f"call_{at}" for at in range(len(offered)))}) {mark(END)}']
        for at, function in enumerate(offered):
            rules += _function_rules(f"call_{at}", function)
        return "\n".join(rules)


def _read(text: str, known: dict[str, dict[str, Any]]) -> WrittenCall | None:
    match = FUNCTION.fullmatch(text)
    if match is None or PARAMETER.sub("", match[2]).strip():
        return None
    properties = _properties(known.get(match[1], {}))
    arguments = {name: _value(value, properties.get(name, {})) for name, value in PARAMETER.findall(match[2])}
    return WrittenCall(match[1], json.dumps(arguments, ensure_ascii=False))


def _value(text: str, schema: dict[str, Any]) -> Any:
    if schema.get("type") == "string":
        return text
    try:
        return read_json(text)
    except ValueError:
        return text


def _function_rules(name: str, function: Offered) -> list[str]:
    schema = function.parameters
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    required = schema.get("required") or ()
    parts: list[str] = []
    rules: list[str] = []
    for at, (parameter, of_it) in enumerate(_properties(schema).items()):
        parts.append(f"{name}_{at}" if parameter in required else f"{name}_{at}?")
        opening = json.dumps(f"<parameter={parameter}>\n")
        if of_it.get("type") == "string" and "enum" not in of_it:
            rules.append(f"{name}_{at}: {opening} {name}_{at}_text")
            rules.append(f'{name}_{at}_text[suffix="\\n</parameter>\\n"]: {TEXT}')
        else:
            value = _either(of_it["enum"]) if _is_choice(of_it) else schema_rule({**of_it, **shared})
            rules.append(f'{name}_{at}: {opening} {name}_{at}_value "\\n</parameter>\\n"')
            rules.append(f"{name}_{at}_value: {value}")
    opening = json.dumps(f"<function={function.name}>\n")
    return [f'{name}: {opening} {" ".join(parts)} "</function>\\n"', *rules]


def _properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the schemas of a function's arguments; one that is `true` takes anything."""
    given = schema.get("properties") or {}
    return {name: each if isinstance(each, dict) else {} for name, each in given.items()}


def _is_choice(schema: dict[str, Any]) -> bool:
    values = schema.get("enum")
    return schema.get("type") == "string" and isinstance(values, list) and all(isinstance(each, str) for each in values)


def _either(values: Sequence[str]) -> str:
    return " | ".join(map(json.dumps, values))
