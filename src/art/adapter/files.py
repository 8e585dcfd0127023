"""An adapter's two files in PEFT's format: the one strict reader of them, and the one writer.

Shapes are checked before memory is taken. Knows folders and tensors; not whose they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from art.adapter.product import ADAPTER_DTYPE, LowRank
from art.config import LoRAConfig
from art.errors import CorruptCheckpointError, StorageError
from art.format.adapter import AdapterShape, LayerSize, read_shape, tensor_names
from art.format.json import MAX_BYTES, parse_object, shown_name
from art.format.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from art.format.safetensors import TensorEntry, read_header

if TYPE_CHECKING:
    # It brings transformers, which reading two files does not need.
    from art.adapter.adapted import LowRanks


def read_adapter_shape(folder: Path) -> AdapterShape:
    """Read what an adapter is, without its values.

    Raises `CorruptCheckpointError`, and `LoRAShapeMismatchError` for one that means more than is implemented.
    """
    tensors = read_file_header(folder / ADAPTER_WEIGHTS)
    path = folder / ADAPTER_CONFIG
    return read_shape(parse_object(read_document(path), where=str(path)), tensors, where=f"The adapter in {folder}")


def read_adapter(folder: Path, base: Mapping[str, LayerSize], *, device: torch.device) -> LowRanks:
    """Read an adapter that fits these layers of a base model; raises as `read_adapter_shape` does."""
    shape = read_adapter_shape(folder)
    shape.check_fits(base)
    return low_ranks_of(read_tensors(folder), shape, device=device)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read an adapter's tensors by their names in the file, once its shape was checked."""
    return read_file(folder / ADAPTER_WEIGHTS)


def read_file_header(path: Path) -> Mapping[str, TensorEntry]:
    """Read which tensors a file holds, and take no memory for them; raises `CorruptCheckpointError`."""
    try:
        with path.open("rb") as file:
            return read_header(path.stat().st_size, file.read, where=str(path))
    except CorruptCheckpointError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def read_file(path: Path) -> dict[str, Tensor]:
    """Read a file's tensors, once its header was checked; raises `CorruptCheckpointError`."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def read_document(path: Path) -> bytes:
    """Read a JSON document, no more of it than one may have; raises `CorruptCheckpointError`."""
    try:
        with path.open("rb") as file:
            return file.read(min(path.stat().st_size, MAX_BYTES) + 1)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CorruptCheckpointError:
    # Where the library quotes a file, it quotes control characters too.
    return CorruptCheckpointError(f"{path} cannot be read: {shown_name(str(error))}")


def low_ranks_of(tensors: Mapping[str, Tensor], shape: AdapterShape, *, device: torch.device) -> LowRanks:
    """Put a file's tensors together by layer, in the adapter's precision."""
    parts = {name: tensor.to(device, ADAPTER_DTYPE) for name, tensor in tensors.items()}
    names = {layer: tensor_names(layer) for layer in shape.layers}
    return {layer: LowRank(parts[name_A], parts[name_B], shape.scale) for layer, (name_A, name_B) in names.items()}


def lora_config_of(shape: AdapterShape) -> LoRAConfig:
    """Give the configuration of a trainer that can load an adapter of this shape."""
    return LoRAConfig(rank=shape.rank, alpha=shape.alpha, targets=shape.targets, dropout=shape.dropout)


def write_adapter(
    folder: Path, tensors: Mapping[str, Tensor], lora: LoRAConfig, *, base_name: str, fan_in_fan_out: bool
) -> None:
    """Write the two files that PEFT opens, from 0.13 on: newer fields than that release knows are left out."""
    targets = sorted({name.rpartition(".lora_")[0].rpartition(".")[2] for name in tensors})
    values = {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": lora.dropout,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_rslora": False,
    }
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        (folder / ADAPTER_CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")
        save_file(on_cpu, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The adapter cannot be written into {folder}: {error}") from error
