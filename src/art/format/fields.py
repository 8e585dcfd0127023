"""The kinds of value that documents from outside hold, as pydantic reads them: counts, times, names, digests."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from art.names import MAX_STEP

MAX_COUNT = MAX_STEP
MAX_NAME = 255
MAX_PATH = 1024
MAX_DEPTH = 16
MAX_KEY = 80


_PART = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f]+")
_PLAIN = re.compile(r"[^.].*", re.DOTALL)


def _of_the_calendar(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def path_problem(path: str) -> str | None:
    """Say why a manifest cannot hold a relative path, None when it can."""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH or len(path) > MAX_PATH:
        return f"its path is longer than {MAX_DEPTH} names or {MAX_PATH:,} characters"
    for part in parts:
        if part in (".", "..") or len(part) > MAX_NAME or not _PART.fullmatch(part) or not _is_text(part):
            return f"{part!r} is no name that every system can hold"
    return None


def _is_text(name: str) -> bool:
    # A name of the system that is no UTF-8 arrives with surrogates in it.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _of_parts(text: str) -> str:
    if problem := path_problem(text):
        raise ValueError(problem)
    return text


def is_plain(path: str) -> bool:
    """Tell whether a path is one name without a leading dot, as every path was before folders were kept."""
    return "/" not in path and _PLAIN.fullmatch(path) is not None


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
"""What tells a scenario from others: the id that its script gave it, or a digest of its prompt."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"), AfterValidator(_of_the_calendar)]
"""In UTC, ISO 8601, ending in Z."""
FilePath = Annotated[str, Field(max_length=MAX_PATH), AfterValidator(_of_parts)]
"""Relative, of names joined by `/`: none is empty, `.` or `..`, none has a separator or a control character."""


def colliding(paths: Iterable[str]) -> str | None:
    """Find a path that some file system cannot keep apart from one before it: there, case does not count.

    A file and a folder of one name collide too, and so do two spellings of one folder.
    """
    files: set[str] = set()
    folders: dict[str, str] = {}
    for path in paths:
        above = [path[:end] for end, letter in enumerate(path) if letter == "/"]
        for folder in above:
            folded = _folded(folder)
            if folded in files or folders.setdefault(folded, folder) != folder:
                return path
        folded = _folded(path)
        if folded in files or folded in folders:
            return path
        files.add(folded)
    return None


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())
