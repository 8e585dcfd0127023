"""Adapters of drawn numbers, written as files, and the updates that they are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from art.adapter.files import write_adapter
from art.config import LoRAConfig

LAYERS = {"model.layers.0.q_proj": (24, 16), "model.layers.0.v_proj": (8, 16)}
PREFIX = "base_model.model."


def write(
    folder: Path, seed: int, *, rank: int = 3, alpha: float = 6.0, layers: dict[str, tuple[int, int]] = LAYERS
) -> Path:
    draw = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for layer, (outputs, inputs) in layers.items():
        tensors[f"{PREFIX}{layer}.lora_A.weight"] = torch.randn(rank, inputs, generator=draw)
        tensors[f"{PREFIX}{layer}.lora_B.weight"] = torch.randn(outputs, rank, generator=draw)
    folder.mkdir()
    write_adapter(folder, tensors, LoRAConfig(rank=rank, alpha=alpha), base_name="tiny", fan_in_fan_out=False)
    return folder


def updates(folder: Path) -> dict[str, Tensor]:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors, scale = load_file(folder / "adapter_model.safetensors"), config["lora_alpha"] / config["r"]
    halves = {layer: [tensors[f"{PREFIX}{layer}.lora_{half}.weight"] for half in "BA"] for layer in LAYERS}
    return {layer: scale * low_B.double() @ low_A.double() for layer, (low_B, low_A) in halves.items()}
