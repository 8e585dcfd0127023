"""A checkpoint for other programs: its adapter as PEFT opens it, or a whole model with the adapter merged in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from art.errors import ConfigurationError, IncompatibleError
from art.format.kinds import ADAPTER
from art.format.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from art.local.gguf import convert, find_converter
from art.ops.folders import new_folder
from art.store import disk
from art.store.checkpoint import Checkpoint, reading
from art.store.sharing import take_out
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from art.adapter.merged import WholeModel

WHOLE = "whole"
"""What lies in an unfinished export while it is converted."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    size_bytes: int
    merged: WholeModel | None = None
    is_gguf: bool = False


def export_adapter(store: CheckpointStore, checkpoint: Checkpoint, folder: Path) -> Exported:
    """Write the two files that PEFT and servers open, every byte of them verified; raises as `export_merged` does."""

    def write(unfinished: Path) -> None:
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            take_out(checkpoint.path / name, unfinished / name)

    return Exported(size_bytes=_written(store, checkpoint, folder, write))


def export_merged(
    store: CheckpointStore, checkpoint: Checkpoint, folder: Path, *, base_model: str | None = None, gguf: bool = False
) -> Exported:
    """Write the base model with the adapter merged in; `base_model` is where it lies now, if not where it lay.

    With `gguf` the folder gets one file, MODEL-STEP.gguf, which the converter of llama.cpp makes of it.

    Raises `ConfigurationError` for a folder with something in it and for a converter that is missing or fails,
    `IncompatibleError` for a checkpoint of another trainer, `CorruptCheckpointError` for a damaged one; then the
    folder is not made.
    """
    from art.adapter.merged import write_merged

    known = checkpoint.manifest.base_model
    base = base_model or (known.id if known else None)
    if base is None:
        raise ConfigurationError(f"{checkpoint.ref} does not say which base model it is for; name it: --base-model.")
    written: list[WholeModel] = []
    converter = find_converter() if gguf else None

    def write(unfinished: Path) -> None:
        whole = unfinished / WHOLE if converter else unfinished
        written.append(write_merged(base, checkpoint.path, whole))
        if converter:
            file = unfinished / f"{checkpoint.ref.model.name}-{checkpoint.ref.step}.gguf"
            convert(converter, whole, file, dtype=written[-1].dtype)
            shutil.rmtree(whole)

    size_bytes = _written(store, checkpoint, folder, write)
    return Exported(size_bytes=size_bytes, merged=written[0], is_gguf=gguf)


def _written(store: CheckpointStore, checkpoint: Checkpoint, folder: Path, write: Callable[[Path], None]) -> int:
    if checkpoint.manifest.kind != ADAPTER:
        raise IncompatibleError(
            f"{checkpoint.ref} is of kind {checkpoint.manifest.kind}; take its files out with art checkout."
        )
    with reading(checkpoint), new_folder(folder, of=checkpoint) as unfinished:
        store.verify(checkpoint)
        write(unfinished)
    return sum(path.stat().st_size for path in disk.files_below(folder))
