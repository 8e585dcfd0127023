"""Who else may be training a model: what its last sign of life and the file system say about it. Only warns."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from art.names import ModelRef
from art.store.liveness import find_run
from art.store.reach import Reach, lock_reach
from art.visible import visible

_log = logging.getLogger("art")


def say_neighbours(root: Path, model: ModelRef) -> None:
    """Warn of another process that trains a model, and of a root whose locks that process may not see."""
    reach, run, here = lock_reach(root), find_run(root, model), socket.gethostname()
    is_other = run is not None and (run.host, run.pid) != (here, os.getpid()) and run.is_alive(datetime.now(UTC))
    if run is not None and is_other:
        _log.warning(
            "%s is trained by process %d on %s too, as it said at %s; each step is written by one of you only.",
            *(model, run.pid, visible(run.host), run.beat),
        )
    if reach is Reach.NOBODY:
        _log.warning("%s knows no locks: rewind, fork over and delete from one process at a time.", root)
    elif reach is Reach.THIS_MACHINE:
        level = logging.WARNING if run is not None and is_other and run.host != here else logging.INFO
        _log.log(level, "%s has locks that hold on one machine only: rewind, fork over and delete from one.", root)
