"""The forks that agents made in a root: a line each, so that a budget holds across servers and restarts."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from art.errors import CorruptCheckpointError
from art.format.fields import Time
from art.format.json import parse_as
from art.format.manifest import utc_now
from art.names import CheckpointRef, ModelRef
from art.store import disk, regular
from art.store.locks import locked

NAME = ".agent-forks.jsonl"
MAX_BYTES = 64 * 1024**2


class AgentFork(BaseModel):
    """One fork that an agent made."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    model: str
    source: str
    time: Time


class Ledger:
    """The forks of agents below one root; lines are only added."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def held(self) -> Generator[None]:
        """Let no other server count or fork meanwhile."""
        with locked(self._root, make=_require_folder):
            yield

    def forks(self) -> list[AgentFork]:
        """List them, oldest first. Raises `CorruptCheckpointError` for a line that is none: a budget is not guessed."""
        path = self._root / NAME
        content = regular.find(path, max_bytes=MAX_BYTES) or b""
        # What a crash or a full disk cut off is no fork that anybody heard of.
        whole = [line for line in content.split(b"\n") if line.endswith(b"}")]
        return [parse_as(AgentFork, line, where=str(path), what="a fork of an agent") for line in whole]

    def branches(self) -> list[ModelRef]:
        """Name the models that agents began."""
        try:
            return [ModelRef.parse(fork.model) for fork in self.forks()]
        except ValueError as error:
            raise CorruptCheckpointError(f"{self._root / NAME} names no model: {error}") from error

    def add(self, model: ModelRef, source: CheckpointRef) -> None:
        """Write down a fork; it is on the disk when this returns."""
        fork = AgentFork(model=str(model), source=str(source), time=utc_now())
        disk.append_lines(self._root / NAME, [fork.model_dump_json().encode()])


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
