"""Pins on this disk: `pins.jsonl` in a model's folder, a line for each one that is set or taken out."""

from __future__ import annotations

from pathlib import Path

from art.format import layout
from art.format.pins import Pins, pin_line, read_pins
from art.names import CheckpointRef, ModelRef
from art.store import disk, regular

MAX_BYTES = 16 * 1024**2


def pins_of(root: Path, model: ModelRef) -> Pins:
    """Read the pins of a model; none where nothing was ever pinned."""
    content = regular.find(root / layout.pins_path(model), max_bytes=MAX_BYTES)
    return read_pins((content or b"").split(b"\n"))


def set_pin(root: Path, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
    """Pin a checkpoint, or take its pin out; returns when that is on the disk."""
    disk.append_lines(root / layout.pins_path(ref.model), [pin_line(ref.step, digest, pinned=pinned)])
