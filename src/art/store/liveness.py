"""Whether a model is being trained right now: `run.json`, a sign of life that its process renews.

It says nothing about checkpoints, is never synced, and may be lost or wrong without harm.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from art.format import layout
from art.format.manifest import utc_now
from art.names import ModelRef

PATIENCE_S = 15 * 60
"""How long a process of another machine counts as alive after its last sign."""
MAX_BYTES = 4096
RUNNING, ENDED = "running", "ended"


class Run(BaseModel):
    """The process that trains a model, as it was at its last sign of life."""

    model_config = ConfigDict(frozen=True, strict=True)

    host: str
    pid: int = Field(gt=0)
    started: str
    beat: str
    word: str

    def is_alive(self, now: datetime) -> bool:
        """Tell whether the process still trains, as far as can be seen from here."""
        if self.word != RUNNING:
            return False
        if self.host == socket.gethostname():
            return _exists(self.pid)
        return (now - datetime.fromisoformat(self.beat)).total_seconds() < PATIENCE_S


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
        path = run_path(self.root, self.model)
        run = Run(host=socket.gethostname(), pid=os.getpid(), started=self.started, beat=utc_now(), word=word)
        self.is_lit = True
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            if path.parent.is_dir():
                fresh.write_text(run.model_dump_json())
                fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)


def run_path(root: Path, model: ModelRef) -> Path:
    return root / layout.model_path(model) / "run.json"


def find_run(root: Path, model: ModelRef) -> Run | None:
    """Read the last sign of life; None when there is none that can be read."""
    path = run_path(root, model)
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        run = Run.model_validate_json(path.read_bytes())
        datetime.fromisoformat(run.beat).astimezone(UTC)
    except (OSError, ValidationError, ValueError):
        return None
    return run


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
