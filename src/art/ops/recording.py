"""Trajectories as lines of JSON: what users put in, also NumPy's numbers, and back; and which a step learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from art.errors import CorruptCheckpointError, TrainingDataError
from art.format.json import parse_object
from art.format.manifest import LearnedFrom, digest_bytes
from art.store.history import MAX_LINE_BYTES
from art.trajectories import TrajectoryGroup


def as_line(group: TrajectoryGroup) -> str:
    """Write a group as one line; raises `TrainingDataError` for a value that JSON has no form for."""
    try:
        return group.model_dump_json(fallback=_plain, warnings=False)
    except PydanticSerializationError as error:
        raise TrainingDataError(f"A trajectory cannot be written down: {error}. Use plain Python values.") from error


def read_lines(lines: Iterable[bytes]) -> Iterator[TrajectoryGroup]:
    """Yield the groups of a file, without lines that a crash tore."""
    for line in lines:
        try:
            parse_object(line, where="a trajectory", max_bytes=MAX_LINE_BYTES)
            yield TrajectoryGroup.model_validate_json(line)
        except (CorruptCheckpointError, ValidationError):
            continue


def learned_from(lines: Sequence[str], trail: Mapping[str, str]) -> LearnedFrom:
    """Say what an update learned from, so that a manifest can hold it."""
    return LearnedFrom(groups=len(lines), blake3=_digest([line.encode() for line in lines]), trail=dict(trail))


def find_learned(lines: Sequence[bytes], learned: LearnedFrom) -> Sequence[bytes] | None:
    """Find the lines that an update learned from among all that its step has; None where they are not there.

    A step has others too where its model was rewound and trained there again.
    """
    spans = (lines[start : start + learned.groups] for start in range(len(lines) - learned.groups + 1))
    return next((span for span in spans if _digest(span) == learned.blake3), None)


def _digest(lines: Iterable[bytes]) -> str:
    return digest_bytes(b"".join(line + b"\n" for line in lines))


def _plain(value: Any) -> Any:
    """Give the Python number that a scalar of NumPy or torch holds."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} has no form in JSON")
