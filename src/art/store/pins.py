"""Pins on this disk: `pins.jsonl` in a model's folder, a line for each one that is set or taken out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from art.format import layout
from art.format.pins import Pins, pin_line, read_pins
from art.names import CheckpointRef, ModelRef
from art.store import disk, regular

MAX_BYTES = 16 * 1024**2


def pins_of(root: Path, model: ModelRef) -> Pins:
    """Read the pins of a model; none where nothing was ever pinned."""
    return read_pins(_lines(root / layout.pins_path(model)))


def set_pin(root: Path, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
    """Pin a checkpoint, or take its pin out; returns when that is on the disk."""
    path = root / layout.pins_path(ref.model)

    def newest() -> Iterator[bytes]:
        yield pin_line(ref.step, digest, pinned=pinned, lines=_lines(path))

    disk.append_lines(path, newest())


def _lines(path: Path) -> list[bytes]:
    return (regular.find(path, max_bytes=MAX_BYTES) or b"").split(b"\n")
