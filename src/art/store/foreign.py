"""Checkpoints that ART or PEFT wrote: adapter files without a manifest of ours.

Such a checkpoint is usable when its two files are whole. Knows the two formats from the outside, no tensor.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from art.errors import CorruptCheckpointError
from art.format import layout
from art.format.manifest import BaseModelInfo, FileEntry, LoRAShape, Manifest
from art.names import CheckpointRef
from art.store import disk

FILES = (layout.ADAPTER_CONFIG, layout.ADAPTER_WEIGHTS)
MAX_HEADER_BYTES = 100_000_000


def describe(ref: CheckpointRef, folder: Path) -> Manifest:
    """Say about a foreign checkpoint what its manifest would; raises `CorruptCheckpointError` when it is not whole."""
    config = check_whole(folder)
    written = (folder / layout.ADAPTER_WEIGHTS).stat().st_mtime
    return manifest_of(ref, config, [_entry(folder / name) for name in FILES], written=written)


def check_whole(folder: Path) -> dict[str, Any]:
    """Give the configuration of a foreign checkpoint, without reading its weights; raises `CorruptCheckpointError`."""
    for name in FILES:
        if not (folder / name).is_file():
            raise CorruptCheckpointError(f"it has neither {layout.MANIFEST} nor {name}")
    weights = folder / layout.ADAPTER_WEIGHTS
    with weights.open("rb") as file:
        check_safetensors(file.read(8), file.read, weights.stat().st_size)
    return read_config((folder / layout.ADAPTER_CONFIG).read_bytes())


def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds the beginning of an adapter's weights, as while another program copies it."""
    try:
        with (folder / layout.ADAPTER_WEIGHTS).open("rb") as file:
            read_header(file.read(8), file.read)
    except (OSError, CorruptCheckpointError):
        return False
    return True


def manifest_of(ref: CheckpointRef, config: dict[str, Any], files: list[FileEntry], *, written: float) -> Manifest:
    """Make the manifest of a foreign checkpoint from its adapter configuration and its files."""
    targets = config.get("target_modules") or ()
    try:
        return Manifest(
            project=ref.model.project,
            model=ref.model.name,
            step=ref.step,
            created_at=datetime.fromtimestamp(written, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            base_model=BaseModelInfo(
                id=str(config.get("base_model_name_or_path") or ""), revision=config.get("revision")
            ),
            lora=LoRAShape(
                rank=config.get("r", 8),
                alpha=config.get("lora_alpha", 8),
                targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
            ),
            files=tuple(files),
            carried=("adapter",),
        )
    except (ValidationError, TypeError) as error:
        raise CorruptCheckpointError(
            f"its {layout.ADAPTER_CONFIG} does not describe a LoRA adapter: {error}"
        ) from error


def read_config(content: bytes) -> dict[str, Any]:
    """Parse an adapter configuration; raises `CorruptCheckpointError`."""
    try:
        config = json.loads(content)
    except ValueError as error:
        raise CorruptCheckpointError(f"its {layout.ADAPTER_CONFIG} does not parse: {error}") from error
    if not isinstance(config, dict):
        raise CorruptCheckpointError(f"its {layout.ADAPTER_CONFIG} holds no JSON object")
    return config


def check_safetensors(prefix: bytes, read: Any, size_bytes: int) -> None:
    """Check that a safetensors file is as long as its header says.

    `prefix` is its first 8 bytes, the header's length in little-endian; `read(n)` gives the n bytes after them.
    """
    header_bytes, end = read_header(prefix, read)
    expected = 8 + header_bytes + end
    if size_bytes != expected:
        raise CorruptCheckpointError(f"its {layout.ADAPTER_WEIGHTS} has {size_bytes} of {expected} bytes")


def read_header(prefix: bytes, read: Any) -> tuple[int, int]:
    """Give the length of a safetensors header, and where the last tensor ends behind it."""
    header_bytes = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or header_bytes > MAX_HEADER_BYTES:
        raise CorruptCheckpointError(f"its {layout.ADAPTER_WEIGHTS} has no safetensors header")
    try:
        header = json.loads(read(header_bytes))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return header_bytes, max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CorruptCheckpointError(f"its {layout.ADAPTER_WEIGHTS} has a damaged header: {error}") from error


def _entry(path: Path) -> FileEntry:
    return FileEntry(path=path.name, size_bytes=path.stat().st_size, blake3=disk.digest(path))
