"""Calls as Hermes and Qwen write them: `<tool_call>`, a JSON object, `</tool_call>`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from art.http.calling.dialect import (
    Mark,
    Offered,
    Parsed,
    WrittenCall,
    all_or_none,
    before_any,
    object_rules,
    read_call,
)
from art.http.thinking import overlap
from art.spelling import read_json

START, END = "<tool_call>", "</tool_call>"
CALL = re.compile(f"{re.escape(START)}(.*?){re.escape(END)}", re.DOTALL)


class Hermes:
    """One element for each call, wherever it stands."""

    marks = (START, END)
    call_start = START

    def call_id(self, name: str) -> str:
        return f"call_{name}"

    def certain(self, text: str) -> int:
        return before_any(text, (START,), overlap)

    def parse(self, text: str, offered: Sequence[Offered]) -> Parsed:
        return parse_elements(text, _read)

    def grammar(self, offered: Sequence[Offered], mark: Mark) -> str:
        start = f'start: {mark(START)} "\\n" call "\\n" {mark(END)}'
        return "\n".join([start, *object_rules(offered, "arguments")])


def parse_elements(text: str, read: Callable[[str], WrittenCall | None]) -> Parsed:
    """Read what each element holds; a broken one makes all of it text."""
    outside = CALL.split(text)[::2]
    if any(START in each for each in outside):
        return None
    calls = [read(match[1]) for match in CALL.finditer(text)]
    return all_or_none(outside[0].rstrip() + "".join(outside[1:]).rstrip(), calls)


def _read(text: str) -> WrittenCall | None:
    try:
        return read_call(read_json(text), "arguments")
    except ValueError:
        return None
