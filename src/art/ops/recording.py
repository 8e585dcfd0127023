"""Trajectories as lines of JSON: what users put in, also NumPy's numbers, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from art.errors import CorruptCheckpointError, TrainingDataError
from art.format.json import parse_object
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


def _plain(value: Any) -> Any:
    """Give the Python number that a scalar of NumPy or torch holds."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} has no form in JSON")
