"""The kinds of value that documents from outside hold, as pydantic reads them: counts, times, names, digests."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from art.names import MAX_STEP

MAX_COUNT = MAX_STEP
MAX_NAME = 255


def _of_the_calendar(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"), AfterValidator(_of_the_calendar)]
"""In UTC, ISO 8601, ending in Z."""
FileName = Annotated[str, Field(pattern=r"^[^./\\\p{Cc}][^/\\\p{Cc}]*$", max_length=MAX_NAME)]
"""No separator, no leading dot, no control character."""


def colliding(names: Iterable[str]) -> str | None:
    """Find a name that some file system cannot keep apart from one before it: there, case does not count."""
    seen: set[str] = set()
    for name in names:
        folded = name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())
        if folded in seen:
            return name
        seen.add(folded)
    return None
