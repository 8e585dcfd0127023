"""The one reader of JSON from outside: what it refuses, and that it refuses with an error of ours that says where."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from art.errors import CorruptCheckpointError
from art.format.fields import Count, FilePath, Number, Time, colliding
from art.format.json import MAX_BYTES, MAX_DEPTH, canonical_json, parse, parse_as, parse_object

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**50), 10**50) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=3)
    | st.dictionaries(st.text("ab\U0001f600\n\"\\"), children, max_size=3),
    max_leaves=10,
)  # fmt: skip

REFUSED = {
    "nothing": b"",
    "half of it": b'{"a": [1, 2',
    "two documents": b"{} {}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "not UTF-8": b'{"a": "\xff"}',
    "an encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\udc00": 1}',
    "a control character": b'{"a": "\x01"}',
    "NaN": b'{"a": NaN}',
    "infinity": b"[-Infinity]",
    "a number beyond every float": b"[1e999]",
    "an integer of 5,000 digits": b'{"step": ' + b"9" * 5000 + b"}",
    "a negative integer of 5,000 digits": b"[-" + b"9" * 5000 + b"]",
    "a key twice": b'{"a": 1, "a": 1}',
    "a key twice, once escaped": b'{"a": 1, "\\u0061": 2}',
    "a key twice, deep inside": b'[{"x": [{"b": 1, "b": 2}]}]',
    "a hundred thousand lists": b"[" * 100_000 + b"]" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "lists without an end": b"[" * 100_000,
    "one level too many": b'[{"]": ' * 50 + b"[]" + b"}]" * 50,
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_what_json_leaves_open_is_refused_by_name(content: bytes):
    with pytest.raises(CorruptCheckpointError, match=r"^m/checkpoint\.json is not JSON: ") as caught:
        parse(content, where="m/checkpoint.json")

    assert len(str(caught.value)) < 400, "a stranger's file does not fill the terminal"


flat_values = st.one_of(
    st.from_regex(r"-?[0-9]{1,24}(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["true", "null", "NaN", "-Infinity", "1" * 99, "1" * 101, '":"', '"\\u0061"', '"{"', "{}", "[]"]),
    st.text(st.characters(min_codepoint=1, max_codepoint=300)).map(lambda text: f'"{text}"'),
)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c/d", "\\u0061", '":']), flat_values), max_size=4))
def test_an_object_of_plain_values_is_read_as_it_is_inside_a_document(fields: list[tuple[str, str]]):
    content = "{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}"

    assert _outcome(content) == _outcome(f"[{content}]").removeprefix("[").removesuffix("]")


def _outcome(text: str) -> str:
    try:
        return repr(parse(text.encode(), where="here"))
    except CorruptCheckpointError:
        return "refused"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'"' + b"[{" * 1000 + b'"', "[{" * 1000),
        (b'["\\"' + b"[" * 1000 + b'"]', ['"' + "[" * 1000]),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'" \xe2\x80\xa8 "', " \u2028 "),
        (b"9" * 100, int("9" * 100)),
        (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    ],
)
def test_what_is_merely_unusual_is_read(content: bytes, value: object):
    found = parse(content, where="here")

    assert value is None or found == value


def test_a_document_that_is_too_large_is_not_parsed():
    with pytest.raises(CorruptCheckpointError, match=r"it has 11 bytes, of 10 at most"):
        parse(b"[1,2,3,4,5]", where="here", max_bytes=10)


def test_deep_documents_are_refused_where_the_stack_is_small():
    caught: list[BaseException] = []

    def read() -> None:
        try:
            parse(b'{"a":[' * 10_000, where="here")
        except CorruptCheckpointError as error:
            caught.append(error)

    before = threading.stack_size(128 * 1024)
    try:
        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
    finally:
        threading.stack_size(before)

    assert len(caught) == 1


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"{}"', b"true"])
def test_an_object_is_asked_for(content: bytes):
    with pytest.raises(CorruptCheckpointError, match="here holds no JSON object"):
        parse_object(content, where="here")


class Typed(BaseModel):
    step: Count = 0
    score: Number = 0.0
    flag: bool = False
    text: str = ""
    time: Time = "2026-01-01T00:00:00Z"
    path: FilePath = "f"
    many: tuple[tuple[str, int], ...] = ()


@pytest.mark.parametrize(
    "fields",
    [
        *({"step": value} for value in ("1", 1.0, True, None, -1, 2**53, [1])),
        *({"score": value} for value in ("1", True, "NaN", [])),
        *({"flag": value} for value in (1, "true", 0.0)),
        *({"text": value} for value in (1, None, True, [])),
        *({"time": value} for value in ("", "now", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-W01-1T00:00Z")),
        *(
            {"path": value}
            for value in (
                "",
                "..",
                ".",
                "a/../b",
                "./a",
                "a//b",
                "/a",
                "a/",
                "a\\b",
                "a\nb",
                "a\0",
                "x" * 256,
                "\x9b",
                "a/" * 16 + "a",
            )
        ),
        *({"many": value} for value in ([["a"]], [["a", "1"]], [["a", 1, 2]], "ab", {"a": 1})),
    ],
    ids=str,
)
def test_types_are_taken_exactly_and_the_field_is_named(fields: dict[str, Any]):
    (name,) = fields

    with pytest.raises(CorruptCheckpointError, match=f"^here is not a thing: {name}"):
        parse_as(Typed, json.dumps(fields).encode(), where="here", what="a thing")


def test_what_fits_is_read_and_other_fields_are_ignored():
    fields = {"step": 2**53 - 1, "score": 1, "many": [["a", 1]], "path": "ä b.json", "later": {}}

    found = parse_as(Typed, json.dumps(fields).encode(), where="here", what="a thing")

    assert (found.step, found.score, found.many, found.path) == (2**53 - 1, 1.0, (("a", 1),), "ä b.json")


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a.json", "A.JSON"),
        ("e\u0301", "\u00e9"),
        ("E\u0301", "\u00e9"),
        ("straße", "STRASSE"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b", "A/c"),
        ("a/b/c", "a/B"),
    ],
)
def test_names_that_some_file_system_confuses_collide(names: tuple[str, str]):
    assert colliding(names) == names[1]
    assert colliding(("x", names[0], "y")) is None


@given(json_values)
def test_what_is_written_is_read_again(value: object):
    content = canonical_json(value)

    assert parse(content, where="here") == value
    assert canonical_json(parse(content, where="here")) == content


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"),
        lambda: [float("inf")],
        lambda: "\ud800",
        lambda: nested(MAX_DEPTH + 1),
        lambda: nested(100_000),
        lambda: 10**200,
        lambda: {1: "a", "1": "b"},
        lambda: {"a": object()},
        lambda: "x" * (MAX_BYTES + 1),
    ],
    ids=["NaN", "infinity", "surrogate", "deep", "very deep", "large integer", "two keys", "an object", "too much"],
)
def test_what_could_not_be_read_again_is_not_written(make: Callable[[], object]):
    with pytest.raises((ValueError, TypeError)):
        canonical_json(make())


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_read_raises_nothing_but_our_own_error(content: bytes):
    try:
        value = parse(content, where="here")
    except CorruptCheckpointError:
        return
    assert value == json.loads(content)
