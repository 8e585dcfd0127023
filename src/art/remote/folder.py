"""A folder as a bucket: its objects are written whole or not at all, and are on the disk when the call returns.

The client library reads folders, and syncs nothing; so every change goes through here. Knows files and keys; knows
nothing of checkpoints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from art.errors import RemoteError
from art.store import disk, regular, staging
from art.store.refusal import explained
from art.store.sharing import place_new, share

PUTS = ".puts"
"""What is being written, below the folder itself. No project has this name."""
MODEL_PARTS = 3
"""Of a key: project, `models` and the model's name. Below them no link is followed."""
_UNREADABLE = re.compile(r"#\d+$")


class Folder:
    """The objects below one folder of this disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False

    def create(self, key: str, content: bytes) -> bool:
        """Write an object if nothing lies there; False, and nothing changed, when something does."""
        target = self._target(key)
        with self._written(target.name, [content]) as fresh:
            return place_new(fresh, target)

    def put(self, key: str, blocks: Iterable[bytes]) -> None:
        """Write an object over whatever lies there; what `blocks` raises leaves nothing behind."""
        target = self._target(key)
        with self._written(target.name, blocks) as fresh:
            disk.take_place(fresh, target)

    def copy(self, source_key: str, key: str) -> None:
        """Put an object in a second place, over whatever lies there."""
        target = self._target(key)
        with self._staged(target.name) as fresh:
            share(self.root / source_key, fresh)
            disk.finish(fresh.parent)
            disk.take_place(fresh, target)

    def delete(self, key: str) -> None:
        """Delete an object; raises `FileNotFoundError`."""
        target = self.root / key
        target.unlink()
        # At once: a manifest that came back after a power failure would have lost its files.
        disk.sync(target.parent)

    def has_objects(self, key: str) -> bool:
        """Tell whether an object lies below a key: a folder outlives what was deleted from it, a key does not."""
        return any(files for _, _, files in os.walk(self.root / key))

    def _target(self, key: str) -> Path:
        target = self.root / key
        if _UNREADABLE.search(target.name):
            raise RemoteError(f"Could not write {target}: names that end in # and digits cannot be read there.")
        above = target.parent.relative_to(self.root)
        regular.require_folders(self.root / path for path in (above, *above.parents) if len(path.parts) > MODEL_PARTS)
        with explained("write in", target.parent):
            disk.make_folders(target.parent)
        return target

    @contextmanager
    def _written(self, name: str, blocks: Iterable[bytes]) -> Generator[Path]:
        with self._staged(name) as fresh:
            with explained("write", fresh), fresh.open("xb") as file:
                for block in blocks:
                    file.write(block)
            disk.finish(fresh.parent)
            yield fresh

    @contextmanager
    def _staged(self, name: str) -> Generator[Path]:
        self._sweep()
        with staging.new_staging(self.root / PUTS) as folder:
            yield folder / name

    def _sweep(self) -> None:
        """Delete what a killed push left."""
        if not self._swept:
            self._swept = True
            for name in disk.names(self.root / PUTS):
                staging.remove_abandoned(self.root / PUTS / name)
