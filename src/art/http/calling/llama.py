"""Calls as Llama 3 writes them: the whole answer is a JSON object with `name` and `parameters`, several joined by `;`.

`<|python_tag|>` may stand before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

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

TAG = "<|python_tag|>"


class Llama:
    """An answer that begins with a brace is held to be a call until it has ended."""

    marks = (TAG,)
    call_start = None

    def call_id(self, name: str) -> str:
        return f"call_{name}"

    def certain(self, text: str) -> int:
        seen = text.lstrip()
        return 0 if not seen or seen.startswith("{") else before_any(text, (TAG,), overlap)

    def parse(self, text: str, offered: Sequence[Offered]) -> Parsed:
        content, _, tagged = text.rpartition(TAG)
        return all_or_none(content.rstrip(), _read_all(tagged))

    def grammar(self, offered: Sequence[Offered], mark: Mark) -> str:
        return "\n".join(["start: call", *object_rules(offered, "parameters")])


def _read_all(text: str) -> list[WrittenCall | None]:
    calls: list[WrittenCall | None] = []
    rest = text.strip()
    while rest:
        try:
            value, end = json.JSONDecoder().raw_decode(rest)
        except (ValueError, RecursionError):
            return [None]
        calls.append(read_call(value, "parameters", "arguments"))
        rest = rest[end:].lstrip()
        if rest and not rest.startswith(";"):
            return [None]
        rest = rest[1:].lstrip()
    return calls
