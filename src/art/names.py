"""What things are called: `project/model` is a branch, `project/model@500` a position on it.

Knows the rules for names and nothing about where things lie.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from art.errors import InvalidNameError
from art.visible import shown_value

MAX_NAME_BYTES = 200
MAX_STEP = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""
_MAX_STEP_DIGITS = len(str(MAX_STEP))
BETWEEN = "::"
"""What stands between the URL of a bucket and a model in it."""
FORBIDDEN = ("/", "\\", "@", BETWEEN)
_URL = re.compile("[a-zA-Z][a-zA-Z0-9+.-]+:/")


@dataclass(frozen=True, order=True)
class ModelRef:
    """A model of a project: the branch that checkpoints lie on."""

    project: str
    name: str

    def __post_init__(self) -> None:
        check_name("project", self.project)
        check_name("model", self.name)

    def __str__(self) -> str:
        return f"{self.project}/{self.name}"

    def at(self, step: int) -> CheckpointRef:
        return CheckpointRef(self, step)

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read `project/model`; raises `InvalidNameError`."""
        project, slash, name = text.partition("/")
        if not slash:
            raise InvalidNameError(f"{shown_value(text)} names no model; write project/model.")
        return cls(project, name)


@dataclass(frozen=True, order=True)
class CheckpointRef:
    """A step of a model. Orders by project, model and the step's number."""

    model: ModelRef
    step: int

    def __post_init__(self) -> None:
        check_step(self.step)

    def __str__(self) -> str:
        return f"{self.model}@{self.step}"

    @classmethod
    def parse(cls, text: str) -> CheckpointRef:
        """Read `project/model@step`; raises `InvalidNameError`."""
        model, step = split_step(text)
        if step is None:
            raise InvalidNameError(f"{shown_value(text)} names no step; write project/model@500.")
        return cls(ModelRef.parse(model), step)


def split_step(text: str) -> tuple[str, int | None]:
    """Split `anything@500` into the text before the @ and the step, None when there is no @."""
    before, at, step = text.rpartition("@")
    if not at:
        return text, None
    number = parse_step(step)
    if number is None:
        raise InvalidNameError(
            f"{shown_value(step)} in {shown_value(text)} is not a step; steps are whole numbers from 0 to {MAX_STEP}."
        )
    return before, number


def parse_step(digits: str) -> int | None:
    """Read a step, whatever its padding; None for what is none."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    if len(digits) < _MAX_STEP_DIGITS:
        return int(digits)
    return step if len(digits) <= MAX_NAME_BYTES and (step := int(digits)) <= MAX_STEP else None


def check_step(step: object) -> None:
    """Refuse what is no step; raises `InvalidNameError`."""
    if isinstance(step, int) and abs(step) > MAX_STEP:
        raise InvalidNameError(f"So large a number is not a step; steps are whole numbers from 0 to {MAX_STEP}.")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise InvalidNameError(f"{shown_value(step)} is not a step; steps are whole numbers from 0.")


def local_path_problem(path: Path | str) -> str | None:
    """Say that a URL, or nothing, stands where a path of this disk belongs; None for a path."""
    if path == "":
        return "An empty text stands where a path on this disk belongs; a dot is the folder one is in."
    if not _URL.match(str(path)):
        return None
    return (
        f"{shown_value(str(path))} is a URL, where a path on this disk belongs. A model in a bucket is written "
        "s3://bucket/prefix::project/model."
    )


def check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be a folder and an object key everywhere; raises `InvalidNameError`."""
    problem = _name_problem(name) if isinstance(name, str) else "it is no text"
    if problem:
        raise InvalidNameError(f"{shown_value(name)} cannot be the name of a {kind}: {problem}.")


@lru_cache(maxsize=4096)
def _name_problem(name: str) -> str | None:
    if not name:
        return "it is empty"
    for separator in FORBIDDEN:
        if separator in name:
            return f"it contains {separator!r}"
    if name.startswith(".") or name.endswith("."):
        return "it begins or ends with a dot"
    if name != name.strip():
        return "it begins or ends with a space"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "it contains a control character or a lone surrogate"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return None
