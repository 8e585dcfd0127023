"""Trajectories as lines of JSON: what users put in, also NumPy's numbers, and back; and which a step learned from.

Conversations are handed through as their scripts made them; what is read from a file is checked here, because a file
may come from a stranger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from art.errors import CorruptCheckpointError, TrainingDataError
from art.format.json import parse_object
from art.format.manifest import LearnedFrom, digest_bytes
from art.store.history import MAX_LINE_BYTES
from art.trajectories import MAX_REWARD, TrajectoryGroup


class _Call(BaseModel):
    """What is looked at of a tool call."""

    function: dict[str, Any] = {}


class _Message(BaseModel):
    """What is looked at of a message."""

    role: str
    content: str | list[str | dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None
    provider_specific_fields: _Sampled | None = None


class _Sampled(BaseModel):
    """What our inference adds to a choice, and whoever hands it on may leave out."""

    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None
    token_logprobs: list[float] | None = None
    temperature: float = 1.0
    version: str | None = None


class _Logprobs(BaseModel):
    content: list[_Sampled] | None = None


class _Choice(_Sampled):
    message: _Message
    finish_reason: str
    logprobs: _Logprobs | None = None


class _History(BaseModel):
    messages_and_choices: list[_Choice | _Message] = []
    tools: list[dict[str, Any]] | None = None
    additional_histories: list[_History] = []


class _Trajectory(_History):
    """What is looked at of a trajectory: a reward is counted with, and a text that means infinity is no number.

    A reward that was not finite was written as null.
    """

    reward: Annotated[float, Field(ge=-MAX_REWARD, le=MAX_REWARD, strict=True)] | None = 0.0


class _Group(BaseModel):
    """The form of a line, as far as whoever reads it relies on more than the types of a group."""

    trajectories: list[_Trajectory] = []
    exceptions: list[dict[str, Any]] = []


def as_line(group: TrajectoryGroup) -> str:
    """Write a group as one line; raises `TrainingDataError` for a value that JSON has no form for."""
    return as_json(group)


def as_json(value: object) -> str:
    """Write a group, or a part of one; what is not finite is null."""
    try:
        return to_json(value, fallback=_plain, inf_nan_mode="null").decode()
    except PydanticSerializationError as error:
        raise TrainingDataError(f"A trajectory cannot be written down: {error}. Use plain Python values.") from error


def read_lines(lines: Iterable[bytes]) -> Iterator[TrajectoryGroup]:
    """Yield the groups of a file, without lines that a crash tore or that hold no conversations."""
    for line in lines:
        try:
            parse_object(line, where="a trajectory", max_bytes=MAX_LINE_BYTES)
            _Group.model_validate_json(line)
            group = TrajectoryGroup.model_validate_json(line)
        except (CorruptCheckpointError, ValidationError):
            continue
        yield group


def learned_from(lines: Sequence[str], trail: Mapping[str, str], scenarios: Sequence[str] = ()) -> LearnedFrom:
    """Say what an update learned from, so that a manifest can hold it."""
    return LearnedFrom(
        groups=len(lines),
        blake3=_digest([line.encode() for line in lines]),
        trail=dict(trail),
        scenarios=tuple(scenarios),
    )


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
