"""The files of a checkpoint as tensors: adapter, moments and counters, read as a trainer reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from art.adapter.files import low_ranks_of, read_adapter_shape, read_tensors, write_adapter
from art.config import LoRAConfig
from art.errors import ArtError
from art.train import state
from art.train.state import Progress

from .mutation import Draw, mutated
from .world import bounded, check_shown

LORA = LoRAConfig(rank=2, targets=("q_proj",))
CPU = torch.device("cpu")
FORMS = {
    "adapter_config.json": "json",
    "adapter_model.safetensors": "tensors",
    "optimizer.safetensors": "tensors",
    "trainer.json": "json",
}


@dataclass(frozen=True)
class Good:
    """A folder as a trainer leaves it: its files, and what it trained."""

    files: Mapping[str, bytes]
    parameters: Mapping[str, nn.Parameter]


def write_good(folder: Path) -> Good:
    folder.mkdir()
    name = "base_model.model.model.layers.0.q_proj"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 4), f"{name}.lora_B.weight": torch.ones(4, 2)}
    parameters = {name: nn.Parameter(tensor) for name, tensor in tensors.items()}
    write_adapter(folder, tensors, LORA, base_name="small", fan_in_fan_out=False)
    optimizer = state.fresh_optimizer(parameters)
    state.write_optimizer(folder, state.optimizer_tensors(optimizer, parameters))
    progress = Progress(optimizer_steps=1, random=state.seeded_random(0, CPU), state={"next": 3})
    state.write_progress(folder, progress, environment={"threads": 1})
    return Good({path.name: path.read_bytes() for path in folder.iterdir()}, parameters)


def check(good: Good, folder: Path, source: bytes) -> None:
    """Change one file of a folder as the bytes say, and read all of it."""
    draw = Draw(source)
    name = draw.pick(sorted(FORMS))
    for each, content in good.files.items():
        (folder / each).write_bytes(mutated(content, draw, form=FORMS[each]) if each == name else content)
    with bounded():
        for read in (_adapter, _moments, _progress):
            try:
                read(folder, good)
            except ArtError as error:
                # What two files say of each other is refused under the name of the folder.
                check_shown(error, name, str(folder))


def _adapter(folder: Path, _: Good) -> None:
    shape = read_adapter_shape(folder)
    low_ranks_of(read_tensors(folder), shape, device=CPU)


def _moments(folder: Path, good: Good) -> None:
    tensors = state.read_optimizer(folder, good.parameters)
    if tensors is not None:
        state.restored_optimizer(tensors, good.parameters)


def _progress(folder: Path, _: Good) -> None:
    found = state.read_progress(folder)
    if found is not None:
        state.check_random(found[0].random, CPU, where=folder / state.TRAINER_FILE)
        state.write_progress(folder, found[0], environment=found[1])
