"""What a long history says in short: enough for a line of the tree, and how its branch was judged. Pure values.

Kept beside the history as `summary.json`, which is a cache and never the truth: it says how far the history was read,
by which file and which bytes, and by which code, and is thrown away where any of that is not so. `store/sealed.py`
tells those of other users apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from art.errors import CorruptCheckpointError
from art.format.fields import MAX_COUNT, Count, Digest, Number
from art.format.json import parse_as
from art.format.lineage import Segment
from art.ops import judge, series
from art.ops.judge import REWARD
from art.ops.judgement import Judgement
from art.ops.series import Point, Series

MAX_SUMMARY_BYTES = 64 * 1024**2
SECONDS, ROLLOUT_SECONDS = "train/seconds", "train/rollout_seconds"
TOKENS, TOKENS_IN, TOKENS_OUT = "train/tokens", "train/tokens_in", "train/tokens_out"
LEAST_PAUSE_S, PAUSE = 600.0, 10.0
"""What is no step any more: so many seconds, and so many times as long as a step takes."""
Figure = TypeVar("Figure", int, float)


class Mark(BaseModel):
    """How far a history was read: the file, the whole lines of it in bytes, and the digest of the last of them."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    inode: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    tail: Digest


def _packed(points: Sequence[Point]) -> str:
    """Write points as the bytes of their steps and values, which are read sooner than text."""
    steps, values = array("q", (step for step, _ in points)), array("d", (value for _, value in points))
    return base64.b64encode(_little(steps).tobytes() + _little(values).tobytes()).decode()


def _unpacked(text: object) -> tuple[Point, ...]:
    """Read points as `_packed` writes them; those that are points already stay."""
    if isinstance(text, tuple):
        return cast("tuple[Point, ...]", text)
    if not isinstance(text, str):
        raise ValueError("its points are no text")  # noqa: TRY004 - pydantic names the field of a ValueError only
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("its points are not base64") from error
    half, rest = divmod(len(content), 2)
    steps, values = array("q"), array("d")
    if rest or half % steps.itemsize:
        raise ValueError("its points are cut off")
    steps.frombytes(content[:half])
    values.frombytes(content[half:])
    steps, values = _little(steps), _little(values)
    if steps and not 0 <= min(steps) <= max(steps) <= MAX_COUNT:
        raise ValueError("one of its steps is none")
    return tuple(zip(steps, values, strict=True))


def _little(numbers: array[Figure]) -> array[Figure]:
    """Turn numbers of this machine into those of a file, or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


Points = Annotated[tuple[Point, ...], PlainValidator(_unpacked), PlainSerializer(_packed)]


class Own(BaseModel):
    """What a model's own history says, forks aside."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    count: Count = 0
    """All rows, also those of tails that were left."""
    first: Count | None = None
    newest: Count | None = None
    first_time: str | None = None
    last_time: str | None = None
    seconds: Number = 0.0
    rollout_seconds: Number = 0.0
    """Those in which a rollout of a step ran; of releases that did not measure that, 0."""
    clock_s: Number = 0.0
    """How long it took by the clock, rollouts included and pauses left out."""
    tokens: Number = 0.0
    """Those that counted in a loss."""
    tokens_in: Number = 0.0
    tokens_out: Number = 0.0
    """What rollouts read and wrote, also those that taught nothing."""
    rewards: Points = ()
    tails: tuple[Points, ...] = ()
    """The rewards of each tail that a rewind left."""


@dataclass(frozen=True)
class Judged:
    """How a branch was judged by its whole past, and when its first bad step was written down."""

    judgement: Judgement
    since: str | None = None


@dataclass(frozen=True)
class Grounds:
    """What a judgement rests on: the parts of a past, and how far the history of each was read."""

    parts: tuple[Segment, ...]
    marks: tuple[Mark | None, ...]


class Summary(Own):
    """The file."""

    code: Digest
    """Of the modules that made it: another judge judges anew."""
    mark: Mark
    judged: tuple[Grounds, Judged] | None


def own_of(history: Series) -> Own:
    """Say in short what a history says."""
    rows = history.rows
    # Unchecked: a sum may be beyond all numbers, and then it is only not kept.
    return Own.model_construct(
        count=len(rows) + sum(len(tail) for tail in history.tails),
        first=rows[0].step if rows else None,
        newest=rows[-1].step if rows else None,
        first_time=rows[0].time if rows else None,
        last_time=rows[-1].time if rows else None,
        seconds=history.total(SECONDS),
        rollout_seconds=history.total(ROLLOUT_SECONDS),
        clock_s=clock_s([row.time for part in (rows, *history.tails) for row in part]),
        tokens=history.total(TOKENS),
        tokens_in=history.total(TOKENS_IN),
        tokens_out=history.total(TOKENS_OUT),
        rewards=history.points(REWARD),
        tails=history.points_of_tails(REWARD),
    )


def clock_s(times: Iterable[str]) -> float:
    """Add up the time between neighbouring moments; a gap far longer than most was a pause, and counts as none."""
    clock = read_clock(times)
    return clock[-1][1] if clock else 0.0


def read_clock(times: Iterable[str]) -> list[tuple[datetime, float]]:
    """Give the moments, oldest first, each with the seconds that had gone by until then, pauses left out."""
    moments = sorted(moment for time in times if (moment := moment_of(time)) is not None)
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    longest = max(LEAST_PAUSE_S, PAUSE * median(gaps)) if gaps else 0.0
    return list(zip(moments, accumulate((gap if gap <= longest else 0.0 for gap in gaps), initial=0.0), strict=False))


def moment_of(time: str | None) -> datetime | None:
    """Read a time that a history holds; None for what is none."""
    try:
        moment = datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def judged_of(past: Series) -> Judged:
    """Judge a branch by its whole past."""
    judgement = judge.judge(past)
    return Judged(judgement, next((row.time for row in past.rows if row.step == judgement.onset), None))


def write_summary(own: Own, mark: Mark, judged: tuple[Grounds, Judged] | None) -> bytes:
    """Write a summary as a file holds it; raises `ValueError` for numbers that JSON has no place for."""
    return Summary(code=code_digest(), mark=mark, judged=judged, **dict(own)).model_dump_json().encode()


def read_summary(content: bytes, *, where: str) -> tuple[Mark, Own, tuple[Grounds, Judged] | None]:
    """Read a summary; raises `CorruptCheckpointError` for one that is none, or that other code made."""
    summary = parse_as(Summary, content, where=where, what="a summary", max_bytes=MAX_SUMMARY_BYTES)
    if summary.code != code_digest():
        raise CorruptCheckpointError(f"{where} was written by another version.")
    own = Own.model_construct(**{name: getattr(summary, name) for name in Own.model_fields})
    return summary.mark, own, summary.judged


@cache
def code_digest() -> str:
    """Give the digest of the code that makes summaries."""
    sources = (judge.__file__, series.__file__, __file__)
    return hashlib.sha256(b"\0".join(Path(source or "").read_bytes() for source in sources)).hexdigest()
