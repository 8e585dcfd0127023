"""Pins: checkpoints that no policy deletes, as lines that are only ever added. Pure: opens no file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from art.errors import CorruptCheckpointError
from art.format.fields import Count, Digest, Time
from art.format.json import parse_as
from art.format.manifest import in_utc, utc_now

MAX_LINE_BYTES = 4096


class PinLine(BaseModel):
    """One line: a checkpoint was pinned, or its pin was taken out."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    step: Count
    checkpoint: Digest | None = None
    """Identity of the checkpoint, None for a foreign one: after a rewind the same step is another checkpoint."""
    pinned: bool = True
    time: Time


@dataclass(frozen=True)
class Pins:
    """The checkpoints of one model that are pinned: steps and identities."""

    checkpoints: frozenset[tuple[int, str | None]] = frozenset()

    def holds(self, step: int, digest: str | None) -> bool:
        return (step, digest) in self.checkpoints


def read_pins(lines: Iterable[bytes]) -> Pins:
    """Read lines in any order: of one checkpoint the newest counts. A line that a crash tore is left out."""
    newest: dict[tuple[int, str | None], PinLine] = {}
    for line in filter(None, map(_parse, lines)):
        key = (line.step, line.checkpoint)
        if key not in newest or newest[key].time <= line.time:
            newest[key] = line
    return Pins(frozenset(key for key, line in newest.items() if line.pinned))


def pin_line(step: int, digest: str | None, *, pinned: bool, lines: Iterable[bytes] = ()) -> bytes:
    """Write the line that pins a checkpoint, or takes its pin out: newer than its other `lines`, whatever the clock."""
    known = (line.time for line in filter(None, map(_parse, lines)) if (line.step, line.checkpoint) == (step, digest))
    time = max((_after(time) for time in known), default="")
    return PinLine(step=step, checkpoint=digest, pinned=pinned, time=max(utc_now(), time)).model_dump_json().encode()


def _after(time: str) -> str:
    try:
        return in_utc(datetime.fromisoformat(time) + timedelta(milliseconds=1))
    except OverflowError:
        return time


def _parse(line: bytes) -> PinLine | None:
    try:
        return parse_as(PinLine, line, where="a pin", what="a pin", max_bytes=MAX_LINE_BYTES)
    except CorruptCheckpointError:
        return None
