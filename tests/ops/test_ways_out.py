"""An error names the way out of the surface that it is read on, whatever it names in Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import art
from art.ops.ways_out import AGENT, PAGE, PROGRAM, say_way_out

SOURCES = Path(art.__file__).parent
ARGUMENT = re.compile(r"\b[a-z_]+=(?=['A-Z.0-9…]|$)|[A-Z]\w+\(")
"""What stands in words like an argument or a call of Python: `overwrite=True`, `mode='min'`, `LocalBackend(`."""
BELOW = ("format", "store", "remote", "ops")
"""The packages whose errors reach every surface."""
UNHEARD = {id(PROGRAM): (), id(PAGE): ("mode=", "dtype=", "gpu_memory="), id(AGENT): ("mode=", "dtype=", "gpu_memory=")}
"""What a surface never asks for."""


@pytest.mark.parametrize(
    ("surface", "packages"), [(PROGRAM, (*BELOW, "cli")), (PAGE, (*BELOW, "ui")), (AGENT, (*BELOW, "tools"))]
)
def test_no_error_says_an_argument_of_python_on_another_surface(surface: Mapping[str, str], packages: tuple[str, ...]):
    words = [words for package in packages for words in _words_of_errors(SOURCES / package)]

    left = {told for each in words if ARGUMENT.search(told := say_way_out(each, surface))}

    assert len(words) > 100
    assert {each for each in left if not any(argument in each for argument in UNHEARD[id(surface)])} == set()


def _words_of_errors(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"):
                yield _words(node)


def _words(call: ast.Call) -> str:
    """Give the text of an error's words, without the values that stand in it."""
    parts = [part for word in call.args for part in (word.values if isinstance(word, ast.JoinedStr) else [word])]
    return "".join(_part(part) for part in parts)


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    known = {"SAY_MODE": "say mode='min' or 'max'", "WAYS_OUT": art.errors.DestinationNotEmptyError.WAYS_OUT}
    return known.get(getattr(value, "id", getattr(value, "attr", "")), "…")
