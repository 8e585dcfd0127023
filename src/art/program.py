"""How the program `art` is called from where its user is, in words that can be copied into a shell. Runs nothing."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

ROOT_VARIABLE = "ART_ROOT"
DEFAULT_ROOT = ".art"


def command(root: str | Path, *words: str) -> str:
    """Give a command of the program about a root, which it names where the program would not find it by itself."""
    named = named_root(root)
    return shlex.join(["art", *words, *(["--root", named] if named else [])])


def named_root(root: str | Path) -> str | None:
    """Give what `--root` has to say in a command that is started here, None where the program finds the root."""
    with suppress(OSError):  # the folder one is in is gone
        if _whole(root) == _whole(found_root()):
            return None
        return str(_whole(root))
    return str(root)


def found_root() -> str:
    """Give the root that the program takes where no option names one."""
    return os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT


def _whole(root: str | Path) -> Path:
    return Path(root).expanduser().absolute()
