"""Short lines on stdout with the time and a mark, as scripts print them."""

from __future__ import annotations

import sys
import time


class _C:
    """Colours of terminals; empty where stdout is none."""

    _on = sys.stdout.isatty()
    RESET = "\033[0m" if _on else ""
    DIM = "\033[2m" if _on else ""
    BOLD = "\033[1m" if _on else ""
    RED = "\033[31m" if _on else ""
    GREEN = "\033[32m" if _on else ""
    YELLOW = "\033[33m" if _on else ""
    BLUE = "\033[34m" if _on else ""
    MAGENTA = "\033[35m" if _on else ""
    CYAN = "\033[36m" if _on else ""
    GRAY = "\033[90m" if _on else ""


def info(msg: str) -> None:
    """Say what happens."""
    _say("INFO", msg, _C.BLUE)


def step(msg: str) -> None:
    """Say what begins."""
    _say("STEP", msg, _C.CYAN)


def ok(msg: str) -> None:
    """Say what went well."""
    _say("OK", msg, _C.GREEN)


def warn(msg: str) -> None:
    """Say what may surprise."""
    _say("WARN", msg, _C.YELLOW)


def err(msg: str) -> None:
    """Say what failed."""
    _say("ERR", msg, _C.RED)


def dim(msg: str) -> None:
    """Say something in passing."""
    _print(f"{_C.DIM}{msg}{_C.RESET}")


def _ts() -> str:
    return time.strftime("%H:%M:%S")


def _say(mark: str, msg: str, colour: str) -> None:
    _print(f"{_C.GRAY}[{_ts()}]{_C.RESET} {colour}[{mark}]{_C.RESET} {msg}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
