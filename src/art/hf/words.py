"""What is told of a Trainer's run: by one of its ranks, because all of them see the same."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger("art")


def warn(settings: Any, message: str, *given: object) -> None:
    """Log a warning; on another rank than the first it is for whoever debugs that one."""
    is_first = getattr(settings, "process_index", 0) == 0
    _log.log(logging.WARNING if is_first else logging.DEBUG, message, *given)
