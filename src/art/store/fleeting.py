"""Small files beside the store's own that nobody needs: signs of life, summaries. Lost or wrong, they do no harm.

They are replaced as a whole, wait for no disk, and stay away in silence where nothing can be written.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def put(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file over one that is there, where its folder is one; the umask takes from its `mode`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        if path.parent.is_dir():
            fresh.unlink(missing_ok=True)
            # Newly made: a link of this name would be another file.
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
                file.write(content)
            fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
