"""What lies in folders that other processes change: what they remove meanwhile is passed over. Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from art.store.refusal import explained


def folders_in(folder: Path) -> list[Path]:
    """List the folders in a folder, links to some among them; none when it is none, or may not be looked into."""
    gone = (FileNotFoundError, NotADirectoryError, PermissionError)
    with explained("list", folder), suppress(*gone), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir()]
    return []


def statuses_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each file and link below a folder, and its status; what is deleted meanwhile is passed over."""
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError, NotADirectoryError):
                path = Path(above, name)
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode):
                    yield path, status
