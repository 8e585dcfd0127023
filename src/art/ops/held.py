"""What a place holds at a step: a checkpoint, or something that is none. Knows no place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from art.format.manifest import Manifest
from art.names import CheckpointRef


class Held(Protocol):
    """A checkpoint as its place holds it."""

    @property
    def ref(self) -> CheckpointRef: ...
    @property
    def description(self) -> Manifest:
        """What is told of it without reading weights; of a foreign one without files."""
        ...

    @property
    def manifest(self) -> Manifest: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def is_foreign(self) -> bool: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def where(self) -> str:
        """Its folder on this disk, or its URL."""
        ...


class StepState(StrEnum):
    """What lies at a step, as far as its bytes can be checked."""

    CHECKED = "checked"
    FOREIGN = "foreign"
    """Its files are whole, and no manifest says what they should be."""
    DEBRIS = "debris"
    """What unfinished work of ours left."""
    UNKNOWN = "unknown"
    """No checkpoint, and nothing of ours."""
    GONE = "gone"
    """It was deleted or set aside while it was read."""


@dataclass(frozen=True)
class NoCheckpoint:
    """What lies at a step in the place of a checkpoint, and why it is none."""

    state: StepState
    reason: str | None = None
