"""What a stranger may write instead of what we wrote: a document changed at one or more places that its structure has.

Every decision is drawn from bytes, so that Hypothesis and a coverage-guided fuzzer steer the same changes, and a short
input that is kept repeats one of them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
INPUT_BYTES = 48
"""Of one example: what a handful of changes decides about."""


class Draw:
    """Decisions out of bytes; once they are used up, always the first choice."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0

    def below(self, count: int) -> int:
        taken = self._source[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(taken, "big") * count >> 16 if len(taken) == 2 else 0

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


class Raw(str):
    """A text that stands in JSON as it is, whether or not it is a value."""


STRANGE = [
    Raw(text)
    for text in (
        "null", "true", "0", "-1", "1.5", "1", "2", "1e308", "1e999", "-1e999", "NaN", "Infinity", "9" * 18, "9" * 99,
        "9" * 101, "9" * 5000, str(2**53), str(2**63), str(2**64), '""', '"x"', '"2"', "[]", "{}", "[[]]", '{"a": 1}',
        '["a", 1]', '"\\ud800"', '"\\u0000"', '"\\u001b]0;gone\\u0007"', '"\u2028"', '"\u202e"', '"../../outside/key"',
        '"/etc/passwd"', '"."', '".."', '"a/../b"', '"2026-13-01T00:00:00Z"', '"0001-01-01T00:00:00Z"',
        '"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00"', '"x" "y"', "", "}", "{", "[" * 99 + "]" * 99, "[" * 5000,
        '{"a":' * 5000, "[" * 100_000, '"' + "x" * 5000 + '"', '"' + "x" * 300_000 + '"',
    )
]  # fmt: skip
NAMES = ["", "x", "format", "step", "__metadata__", "a\x1b[31m", "é", "constructor", "kind", "digest", "train/x"]


def mutated(content: bytes, draw: Draw, *, form: str) -> bytes:
    """Change a document of a form: `json`, `lines` of it, `tensors` behind a header, a `pair` of both, or `text`."""
    for _ in range(1 + draw.below(3)):
        content = FORMS[form](content, draw) if draw.below(5) else _bytes_changed(content, draw)
    return content


def _json(content: bytes, draw: Draw) -> bytes:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes_changed(content, draw)
    return written(_value_changed(value, draw)).encode("utf-8", "surrogatepass")


def _lines(content: bytes, draw: Draw) -> bytes:
    lines = content.split(b"\n")
    at = draw.below(len(lines))
    match draw.below(5):
        case 0:
            lines.insert(at, lines[draw.below(len(lines))])
        case 1:
            del lines[at]
        case _:
            lines[at] = _json(lines[at], draw)
    return b"\n".join(lines)


def _tensors(content: bytes, draw: Draw) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, behind = content[8 : 8 + length], content[8 + length :]
    changed = _json(header, draw) if draw.below(6) else header
    claim = draw.pick(
        [len(changed)] * 6 + [0, 1, len(changed) - 1, len(changed) + 1, 2**20, 2**24 + 1, 2**63, 2**64 - 1]
    )
    behind = draw.pick([behind] * 6 + [b"", behind[:-1], behind + b"\0", behind * 3])
    return struct.pack("<Q", claim % 2**64) + changed + behind


def _pair(content: bytes, draw: Draw) -> bytes:
    """Change JSON or the tensors behind it, with a zero between them."""
    document, _, tensors = content.partition(b"\0")
    if draw.below(2):
        return _json(document, draw) + b"\0" + tensors
    return document + b"\0" + _tensors(tensors, draw)


def _bytes_changed(content: bytes, draw: Draw) -> bytes:
    at, other = draw.below(len(content) + 1), draw.below(len(content) + 1)
    first, last = min(at, other), max(at, other)
    match draw.below(8):
        case 0:
            return content[:at]
        case 1:
            return content[:first] + content[last:]
        case 2:
            return content[:at] + content[first:last] + content[at:]
        case 3:
            return (
                content[:at]
                + draw.pick([b"\0", b"\xff", b"\xed\xa0\x80", b"\r\n", b"\n", b'"', b"{", b"\xef\xbb\xbf"])
                + content[at:]
            )
        case 4:
            return draw.pick([b"", b"\0", b"{", b"[]", b"null", b'"x"', b"\xff" * 9, b" " * 9, b"\n\n", b"[" * 100_000])
        case 5:
            return b"\xef\xbb\xbf" + content
        case 6:
            return content.decode("utf-8", "replace").encode(draw.pick(["utf-16", "utf-32", "utf-7"]))
        case _:
            return content[:at] + bytes([draw.below(256)]) + content[at + 1 :]


def _text(content: bytes, draw: Draw) -> bytes:
    words = content.split(b" ")
    at = draw.below(len(words))
    strange = [text.encode("utf-8", "surrogatepass") for text in STRANGE if len(text) < 400]
    words[at] = draw.pick([*strange, words[draw.below(len(words))], b"", words[at] * 2])
    return b" ".join(words)


FORMS: dict[str, Callable[[bytes, Draw], bytes]] = {
    "json": _json,
    "lines": _lines,
    "tensors": _tensors,
    "pair": _pair,
    "text": _text,
}


def _value_changed(value: Any, draw: Draw) -> Any:
    """Change one node of a JSON value."""
    places = list(_places(value))
    if not places or draw.below(12) == 0:
        return draw.pick(STRANGE)
    holder, key = draw.pick(places)
    match draw.below(9):
        case 0 | 1 | 2 | 3:
            holder[key] = draw.pick(STRANGE)
        case 4:
            other, there = draw.pick(places)
            holder[key], other[there] = other[there], holder[key]
        case 5:
            del holder[key]
        case 6:
            holder[key] = [holder[key]]
        case 7 if isinstance(holder, dict):
            holder[draw.pick(NAMES)] = draw.pick([*STRANGE, holder[key]])
        case 8 if isinstance(holder, dict):
            holder[Raw(json.dumps(key))] = draw.pick([*STRANGE, holder[key]])
        case _:
            holder[key] = _near(holder[key], draw)
    return value


def _near(value: Any, draw: Draw) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return draw.pick([value + 1, value - 1, -value, value * 1000, str(value), float(value) + 0.5])
        case str():
            return draw.pick(
                [value + "x", value[:-1], value.upper(), value + "\n", f"../{value}", value * 20, f"{value}\x1b[2J"]
            )
        case list():
            return draw.pick([value * 2, value[1:], value * 200])
        case _:
            return draw.pick(STRANGE)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place that a value stands at below the top: its holder, and the key or number there."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def written(value: Any, depth: int = 0) -> str:
    """Write a value as JSON, with what is raw in it; a swap may have put a value into itself."""
    if depth > 50:
        return "null"
    match value:
        case Raw():
            return str(value)
        case dict():
            pairs = (f"{_key(key)}: {written(inner, depth + 1)}" for key, inner in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(written(inner, depth + 1) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return str(key) if isinstance(key, Raw) else json.dumps(key, ensure_ascii=False)
