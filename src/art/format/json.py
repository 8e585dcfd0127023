"""JSON that comes from outside, read in one strict way, and JSON of ours, written in the way that digests are taken of.

What JSON leaves open is closed here: UTF-8, no key twice, no NaN, no lone surrogate, bounded depth, size and integers.
Knows no file; whoever reads one says where the bytes come from.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from art.errors import CorruptCheckpointError
from art.visible import visible

MAX_BYTES = 64 * 1024**2
MAX_DEPTH = 100
MAX_DIGITS = 100
"""Of an integer: the state of any random generator fits, and what has more is an attack on the reader."""
_SHOWN = 60
_WORD = 2**63
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_LISTS = bytes.maketrans(b"{}", b"[]")

Model = TypeVar("Model", bound=BaseModel)


def parse(content: bytes, *, where: str, max_bytes: int = MAX_BYTES, max_values: int | None = None) -> Any:
    """Read a JSON document; raises `CorruptCheckpointError` that names `where` it lies.

    A document that is read again and again has `max_values` too: each value takes twenty times the bytes it has there.
    """
    try:
        _check_size(content, max_bytes, max_values)
        return _parsed(content)
    except ValueError as error:
        raise CorruptCheckpointError(f"{where} is not JSON: {_shortened(str(error))}.") from error


def parse_object(
    content: bytes, *, where: str, max_bytes: int = MAX_BYTES, max_values: int | None = None
) -> dict[str, Any]:
    """Read a JSON object; raises `CorruptCheckpointError`."""
    value = parse(content, where=where, max_bytes=max_bytes, max_values=max_values)
    if not isinstance(value, dict):
        raise CorruptCheckpointError(f"{where} holds no JSON object.")
    return value


def parse_as(
    kind: type[Model],
    content: bytes,
    *,
    where: str,
    what: str,
    max_bytes: int = MAX_BYTES,
    max_values: int | None = None,
) -> Model:
    """Read a JSON object as a `kind`; raises `CorruptCheckpointError` that says that `where` is not `what`."""
    parse_object(content, where=where, max_bytes=max_bytes, max_values=max_values)
    return typed(kind, content, where=where, what=what)


def typed(kind: type[Model], content: bytes, *, where: str, what: str) -> Model:
    """Read what `parse_object` accepted as a `kind`, with exactly its types: no number as text, no 1.0 for 1.

    Raises `CorruptCheckpointError` that names the field, and says that `where` is not `what`, such as "a manifest".
    """
    try:
        # From the text, since a list is a tuple only there when types are taken strictly.
        return kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise CorruptCheckpointError(f"{where} is not {what}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Say which field is wrong, and how, without what a stranger wrote there."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, problem["loc"]))
    return _shortened(f"{field}: {problem['msg']}" if field else problem["msg"])


def shown(value: object) -> str:
    """Write what a stranger wrote so that a message can hold it: escaped, and not at length."""
    return _shortened(repr(value))


def shown_name(name: str) -> str:
    """Write a name that a stranger chose so that a message can hold it: as it is, where nothing in it hides."""
    return _shortened(visible(name))


def canonical_json(value: Any, *, max_bytes: int = MAX_BYTES, max_values: int | None = None) -> bytes:
    """Encode as JSON in the one way that digests are taken of: sorted keys, two spaces, UTF-8, a final newline.

    Raises `ValueError` or `TypeError` for what `parse` with the same bounds would not read again.
    """
    try:
        content = (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_size(content, max_bytes, max_values)
    _parsed(content)
    return content


def _check_size(content: bytes, max_bytes: int, max_values: int | None) -> None:
    if len(content) > max_bytes:
        raise ValueError(f"it has {len(content):,} bytes, of {max_bytes:,} at most")
    # Those in texts count too: before anything is parsed, nobody knows which these are.
    if max_values is not None and sum(map(content.count, (b",", b"[", b"{"))) > max_values:
        raise ValueError(f"it has more than {max_values:,} values")


def _parsed(content: bytes) -> Any:
    if (fields := _find_flat(content)) is not None:
        return fields
    text = content.decode()
    _check_depth(content)
    value = _DECODER.decode(text)
    if b"\\u" in content:
        _check_surrogates(value)
    return value


def _find_flat(content: bytes) -> dict[str, Any] | None:
    """Read one object of plain values, as a line of a history is; None for all else, which `_DECODER` reads or refuses.

    Eight times as fast, and only where both are sure to say the same.
    """
    if b"\\" in content or b"[" in content or content.count(b"{") != 1:
        return None
    try:
        fields = from_json(content, allow_inf_nan=False)
    except ValueError:
        return None
    # Nothing is escaped, so a quote before a colon ends a key: one more of them is a key that is there twice.
    is_sure = content.count(b'":') == len(fields) and all(map(_is_plain, fields.values()))
    return fields if is_sure else None


def _is_plain(value: Any) -> bool:
    """Tell whether a value may be kept as it is; integers beyond 64 bits and what is not finite are looked at again."""
    if type(value) is int:
        return -_WORD <= value < _WORD
    return type(value) is not float or math.isfinite(value)


def _check_depth(content: bytes) -> None:
    # Before parsing, since how deep the parser itself may go depends on the interpreter and on who calls.
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", content).translate(_AS_LISTS, delete=_NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if b"[]" not in brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{shown(twice)} is there twice")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits, of {MAX_DIGITS} at most")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is beyond every finite number")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds a lone surrogate") from error


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant
)


def _shortened(text: str) -> str:
    return text if len(text) <= 4 * _SHOWN else f"{text[: 3 * _SHOWN]} ... {text[-_SHOWN // 2 :]}"
