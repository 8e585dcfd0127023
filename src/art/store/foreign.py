"""Checkpoints that ART or PEFT wrote: adapter files without a manifest of ours.

Such a checkpoint is usable when its two files are whole. Knows the two formats from the outside, no tensor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from art.errors import CorruptCheckpointError
from art.format import layout, safetensors
from art.format.fields import Number
from art.format.json import first_problem, parse_as
from art.format.manifest import MAX_RANK, BaseModelInfo, FileEntry, LoRAShape, Manifest
from art.names import CheckpointRef
from art.store import disk, regular

FILES = (layout.ADAPTER_CONFIG, layout.ADAPTER_WEIGHTS)
MAX_CONFIG_BYTES = 1024**2
MOST_UNASKED_BYTES = 64 << 20
BLOCK_BYTES, LEAST_KEPT = 512, 16
"""The unit of `st_blocks`, and what part of its size a file takes at least; a disk that compresses saves less."""
_WEIGHTS = f"its {layout.ADAPTER_WEIGHTS}"


@dataclass(frozen=True, kw_only=True)
class FileTrace:
    """A file of a foreign checkpoint, as it lay when it was looked at; another file in its place has another one."""

    name: str
    size_bytes: int
    inode: int
    written_ns: int


class AdapterConfig(BaseModel):
    """What an adapter's configuration says that a manifest would; PEFT's defaults where it says nothing."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    base_model_name_or_path: str | None = None
    revision: str | None = None
    r: int = Field(default=8, ge=1, le=MAX_RANK)
    lora_alpha: Number = 8
    target_modules: str | tuple[str, ...] | None = None


def describe(ref: CheckpointRef, folder: Path) -> Manifest:
    """Say what the manifest of a foreign checkpoint would, but its files; raises `CorruptCheckpointError`.

    Reads its configuration and the header of its weights: whoever lists a model waits for no weights.
    """
    config = _config_of(folder)
    with _opened(folder, layout.ADAPTER_WEIGHTS) as file:
        status = os.fstat(file.fileno())
        check_safetensors(status.st_size, file.read)
        _require_written(file.fileno())
    return manifest_of(ref, config, [], written_s=status.st_mtime)


def describe_with_files(ref: CheckpointRef, folder: Path) -> Manifest:
    """Say what the manifest of a foreign checkpoint would, its files too: every byte is read for their digests."""
    traces = [trace_of(folder, name) for name in FILES]
    files = tuple(entry_of(folder, trace) for trace in traces)
    return describe(ref, folder).model_copy(update={"files": files})


def trace_of(folder: Path, name: str) -> FileTrace:
    """Look at a file of a foreign checkpoint without reading it; raises `CorruptCheckpointError` when it is gone."""
    with _opened(folder, name) as file:
        status = os.fstat(file.fileno())
    return FileTrace(name=name, size_bytes=status.st_size, inode=status.st_ino, written_ns=status.st_mtime_ns)


def entry_of(folder: Path, trace: FileTrace) -> FileEntry:
    """Read a file of a foreign checkpoint for its digest; raises `CorruptCheckpointError` when it is another by now."""
    with _opened(folder, trace.name):
        digest = disk.digest(folder / trace.name)
    if trace_of(folder, trace.name) != trace:
        raise CorruptCheckpointError(f"{folder / trace.name} was replaced or altered since its checkpoint was opened.")
    return FileEntry(path=trace.name, size_bytes=trace.size_bytes, blake3=digest)


def require_foreign(names: Collection[str], *, where: str) -> None:
    """Refuse a checkpoint of ours that lost its manifest, by its files; raises `CorruptCheckpointError`.

    What our trainer writes beside an adapter cannot be checked without the manifest, so nothing of it is used.
    """
    own = [name for name in (layout.TRAINER, layout.OPTIMIZER) if name in names]
    if own:
        raise CorruptCheckpointError(
            f"{where} has {own[0]}, which artfork writes, and no {layout.MANIFEST}: it is a checkpoint that lost its "
            "manifest. Bring another copy, or go back to an earlier step."
        )


def check_whole(folder: Path) -> None:
    """Check that a foreign checkpoint is whole, as far as that can be told without parsing its header.

    Raises `CorruptCheckpointError`.
    """
    _config_of(folder)
    with _opened(folder, layout.ADAPTER_WEIGHTS) as file:
        safetensors.check_length(os.fstat(file.fileno()).st_size, file.read, where=_WEIGHTS)
        _require_written(file.fileno())


def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds the beginning of an adapter's weights, as while another program copies it."""
    try:
        file = regular.find_opened(folder / layout.ADAPTER_WEIGHTS)
    except CorruptCheckpointError:
        return False
    if file is None:
        return False
    with file:
        return safetensors.is_beginning(file.read(safetensors.LENGTH_BYTES + 1))


def manifest_of(ref: CheckpointRef, config: AdapterConfig, files: list[FileEntry], *, written_s: float) -> Manifest:
    """Make the manifest of a foreign checkpoint from its adapter configuration and its files."""
    targets = config.target_modules or ()
    try:
        return Manifest(
            project=ref.model.project,
            model=ref.model.name,
            step=ref.step,
            created_at=_time(written_s),
            base_model=BaseModelInfo(id=config.base_model_name_or_path or "", revision=config.revision),
            lora=LoRAShape(
                rank=config.r,
                alpha=config.lora_alpha,
                targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
            ),
            files=tuple(files),
            carried=("adapter",),
        )
    except ValidationError as error:
        raise CorruptCheckpointError(
            f"its {layout.ADAPTER_CONFIG} does not describe a LoRA adapter: {first_problem(error)}"
        ) from error


def read_config(content: bytes) -> AdapterConfig:
    """Parse an adapter configuration; raises `CorruptCheckpointError`."""
    where = f"its {layout.ADAPTER_CONFIG}"
    return parse_as(AdapterConfig, content, where=where, what="one of a LoRA adapter", max_bytes=MAX_CONFIG_BYTES)


def check_safetensors(size_bytes: int, read: Callable[[int], bytes]) -> None:
    """Check that an adapter's weights are as long as their header says; `read(n)` gives their next n bytes."""
    safetensors.read_header(size_bytes, read, where=_WEIGHTS)


def read_tensors(path: Path) -> Mapping[str, safetensors.TensorEntry]:
    """Read which tensors a file holds, by its header alone; raises `CorruptCheckpointError`."""
    file = regular.find_opened(path)
    if file is None:
        raise CorruptCheckpointError(f"{path} is gone, though its checkpoint needs it.")
    with file:
        return safetensors.read_header(os.fstat(file.fileno()).st_size, file.read, where=str(path))


def _require_written(handle: int) -> None:
    """Refuse weights that are mostly holes: they take no place on a disk, and hours to read.

    A file system that counts no blocks, or none yet, names no hole either, and is believed.
    """
    status = os.fstat(handle)
    kept_bytes = status.st_blocks * BLOCK_BYTES
    if status.st_size < MOST_UNASKED_BYTES or kept_bytes >= status.st_size // LEAST_KEPT:
        return
    try:
        has_hole = os.lseek(handle, 0, os.SEEK_HOLE) < status.st_size
    except OSError:
        return
    if has_hole:
        raise CorruptCheckpointError(
            f"{_WEIGHTS} has {status.st_size:,} bytes, and the disk {kept_bytes:,} of them; the rest is holes"
        )


def _opened(folder: Path, name: str) -> BinaryIO:
    file = regular.find_opened(folder / name)
    if file is None:
        raise CorruptCheckpointError(f"it has neither {layout.MANIFEST} nor {name}")
    return file


def _config_of(folder: Path) -> AdapterConfig:
    with _opened(folder, layout.ADAPTER_CONFIG) as file:
        return read_config(file.read(MAX_CONFIG_BYTES + 1))


def _time(written_s: float) -> str:
    try:
        time = datetime.fromtimestamp(written_s, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise CorruptCheckpointError(f"{_WEIGHTS} was written in no year of the calendar ({error})") from error
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
