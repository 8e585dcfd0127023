"""Whether a model is being trained right now: `run.json`, a sign of life that its process renews.

It says nothing about checkpoints, is never synced, and may be lost or wrong without harm.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from art.errors import CorruptCheckpointError, StorageError
from art.format import layout
from art.format.fields import Time
from art.format.json import parse_as
from art.format.manifest import utc_now
from art.names import ModelRef
from art.store import fleeting, regular

PATIENCE_S = 15 * 60
"""How long a process of another machine counts as alive after its last sign."""
MAX_BYTES = 4096
RUNNING, ENDED = "running", "ended"


class LiveRun(BaseModel):
    """The process that trains a model, as it was at its last sign of life."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    host: str
    pid: int = Field(gt=0)
    started: Time
    beat: Time
    word: str

    def is_alive(self, now: datetime) -> bool:
        """Tell whether the process still trains, as far as can be seen from here."""
        if self.word != RUNNING:
            return False
        if self.host == socket.gethostname():
            return _exists(self.pid)
        # Either way: after a clock was set back, a process that ended would live until that time comes again.
        return abs((now - datetime.fromisoformat(self.beat)).total_seconds()) < PATIENCE_S


@dataclass
class Beacon:
    """Gives signs of life for one model."""

    root: Path
    model: ModelRef
    started: str
    is_lit: bool = field(default=False, init=False)
    """Whether it gave a sign yet."""

    def beat(self, word: str = RUNNING) -> None:
        """Say that the process lives, or how it ended; silent where nothing can be written."""
        run = LiveRun(host=socket.gethostname(), pid=os.getpid(), started=self.started, beat=utc_now(), word=word)
        self.is_lit = True
        fleeting.put(run_path(self.root, self.model), run.model_dump_json().encode())


def run_path(root: Path, model: ModelRef) -> Path:
    return root / layout.model_path(model) / "run.json"


def find_run(root: Path, model: ModelRef) -> LiveRun | None:
    """Read the last sign of life; None when there is none that can be read."""
    path = run_path(root, model)
    try:
        content = regular.find(path, max_bytes=MAX_BYTES)
        return None if content is None else parse_as(LiveRun, content, where=str(path), what="a sign of life")
    except (CorruptCheckpointError, StorageError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
