"""A place, where models and checkpoints lie: a root on this disk, a bucket, or for reading a repository of a hub.

Says what operations may ask of any of them, and opens the one that a URL names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from art.format.manifest import Manifest
from art.format.pick import NEWEST, Pick
from art.format.selection import Selection
from art.names import CheckpointRef, ModelRef
from art.remote.hub import SCHEME, Hub
from art.remote.remote import Remote

Watch = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]
"""Told what is about to move; what it gives is told the bytes that have moved so far, and how many will."""


class Held(Protocol):
    """A checkpoint as its place holds it."""

    @property
    def ref(self) -> CheckpointRef: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def where(self) -> str:
        """Its folder on this disk, or its URL."""
        ...


AnyHeld = TypeVar("AnyHeld", bound=Held)


class Place(Protocol[AnyHeld]):
    """What every place answers; `Exact(step)` opens a step."""

    def models(self, project: str | None = None) -> list[ModelRef]: ...
    def steps(self, model: ModelRef) -> list[int]: ...
    def newest(self, model: ModelRef) -> AnyHeld | None: ...
    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[AnyHeld]: ...
    def read(self, checkpoint: AnyHeld, name: str) -> bytes: ...


def open_remote(url_or_bucket: str, *, prefix: str | None = None) -> Remote | Hub:
    """Open a bucket, or with `hf://` a repository of the Hub. Sends no request."""
    if url_or_bucket.startswith(f"{SCHEME}://"):
        return Hub.open(url_or_bucket)
    return Remote.open(url_or_bucket, prefix=prefix)


def unwatched(_: str) -> AbstractContextManager[None]:
    """Let bytes move without telling anybody."""
    return nullcontext()
