"""Adapters for tests: real ones in folders, with values that change what a model says."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from art.config import LoRAConfig

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

SMALL = LoRAConfig(rank=4)
RANK = 8
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter_bytes(content: bytes) -> bytes:
    """A file of weights that a model could continue: A and B of one layer in rank 8, A holding `content`."""
    padded = content + bytes(-len(content) % (2 * RANK))
    halves = {"lora_A": ([RANK, len(padded) // (2 * RANK)], padded), "lora_B": ([1, RANK], bytes(2 * RANK))}
    header, end = dict[str, object](), 0
    for half, (shape, values) in halves.items():
        offsets = [end, end := end + len(values)]
        header[f"{LAYER}.{half}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(values for _, values in halves.values())


def write_random_adapter(
    folder: Path, base: PreTrainedModel, *, seed: int = 0, size: float = 0.1, lora: LoRAConfig = SMALL
) -> Path:
    """Write an adapter whose A and B are random, B of about this size; gives `folder`."""
    import torch

    from art.adapter.lora import TrainedAdapter

    adapter = TrainedAdapter(base, lora=lora, base_name="small")
    adapter.start(seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapter.parameters.items():
        if ".lora_B." in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * size)
    folder.mkdir(parents=True)
    adapter.save(folder)
    return folder


def write_parrot(folder: Path, base: PreTrainedModel, *, prompt_ids: list[int], answer_ids: list[int]) -> Path:
    """Write an adapter under which the model answers a prompt with these tokens; gives `folder`."""
    import torch

    from art.adapter.lora import TrainedAdapter

    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=32), base_name="small")
    adapter.start(0)
    optimizer = torch.optim.Adam(adapter.parameters.values(), lr=1e-2)
    ids = torch.tensor([prompt_ids + answer_ids])
    labels = ids.clone()
    labels[:, : len(prompt_ids)] = -100
    for _ in range(300):
        loss = adapter.model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    folder.mkdir(parents=True)
    adapter.save(folder)
    return folder


def open_with_peft(folder: Path, base: PreTrainedModel, *, trainable: bool = True) -> PeftModel:
    from peft import PeftModel

    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a deprecated property, and warns of adapters of tied layers.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        return PeftModel.from_pretrained(base, folder, is_trainable=trainable).eval()
