"""The adapter that a trainer changes: its parameters by the names they have in the file, sorted, over a shared base.

Knows the base's layers and the adapter's two files; knows no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from art.adapter.adapted import AdaptedModel, LowRanks
from art.adapter.files import low_ranks_of, read_adapter_shape, read_tensors, write_adapter
from art.adapter.layers import targeted
from art.adapter.product import ADAPTER_DTYPE, LowRank
from art.config import LoRAConfig
from art.errors import LoRAShapeMismatchError
from art.format.adapter import A_SUFFIX, AdapterShape, tensor_names


class TrainedAdapter:
    """Low-rank parameters in float32 beside a base model, and the model that they change."""

    def __init__(self, base: PreTrainedModel, *, lora: LoRAConfig, base_name: str) -> None:
        self.lora = lora
        self._base_name = base_name
        self._sizes = targeted(base, lora)
        self._adapted = AdaptedModel(base)
        self._device = base.device
        self._fan_in_fan_out = any(isinstance(module, Conv1D) for module in base.modules())
        parameters = {
            name: nn.Parameter(torch.zeros(shape, dtype=ADAPTER_DTYPE, device=self._device))
            for name, shape in self._shapes().items()
        }
        self.parameters: dict[str, nn.Parameter] = dict(sorted(parameters.items()))
        self._adapted.set(self._low_ranks())

    @property
    def model(self) -> PreTrainedModel:
        """The causal language model, its layers adapted."""
        return self._adapted.model

    def start(self, seed: int) -> None:
        """Set a fresh adapter that changes nothing yet: A as PEFT draws it, from `seed` alone, and B zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.parameters.items():
            fresh = torch.zeros(parameter.shape, dtype=ADAPTER_DTYPE)
            if name.endswith(A_SUFFIX):
                nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(fresh)

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the adapter to these values, checked before."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[name])

    @contextmanager
    def dropping_out(self) -> Generator[None]:
        """Let the adapter's dropout work; the base model's own never does."""
        with self._adapted.dropping_out(self.lora.dropout):
            yield

    @contextmanager
    def replaced(self, low_ranks: LowRanks) -> Generator[None]:
        """Put another adapter in this one's place for a while, none at all for the base model; without gradient."""
        with self._adapted.replaced(low_ranks), torch.no_grad():
            yield

    def as_now(self) -> AbstractContextManager[None]:
        """Give a context in which the model computes once more as it would now."""
        return self._adapted.as_now()

    def read(self, folder: Path) -> dict[str, Tensor]:
        """Read the values of an adapter of this very shape; raises `LoRAShapeMismatchError`."""
        self._check(read_adapter_shape(folder))
        return read_tensors(folder)

    def read_other(self, folder: Path) -> LowRanks:
        """Read an adapter of this very shape, to compare with."""
        shape = read_adapter_shape(folder)
        self._check(shape)
        return low_ranks_of(read_tensors(folder), shape, device=self._device)

    def save(self, folder: Path) -> None:
        """Write the two files that PEFT opens."""
        write_adapter(
            folder, self.parameters, self.lora, base_name=self._base_name, fan_in_fan_out=self._fan_in_fan_out
        )

    def _low_ranks(self) -> LowRanks:
        names = {layer: tensor_names(layer) for layer in self._sizes}
        scale = self.lora.alpha / self.lora.rank
        return {
            layer: LowRank(self.parameters[name_A], self.parameters[name_B], scale)
            for layer, (name_A, name_B) in names.items()
        }

    def _shapes(self) -> dict[str, tuple[int, int]]:
        shapes: dict[str, tuple[int, int]] = {}
        for layer, size in self._sizes.items():
            name_A, name_B = tensor_names(layer)
            shapes[name_A], shapes[name_B] = (self.lora.rank, size.inputs), (size.outputs, self.lora.rank)
        return shapes

    def _check(self, shape: AdapterShape) -> None:
        same_scale = shape.scale == self.lora.alpha / self.lora.rank
        if shape.layers == self._sizes and shape.rank == self.lora.rank and same_scale:
            return
        raise LoRAShapeMismatchError(self._difference(shape))

    def _difference(self, shape: AdapterShape) -> str:
        head = (
            f"{shape.where} has another shape than this trainer's: rank {shape.rank}, alpha {shape.alpha:g} against "
            f"rank {self.lora.rank}, alpha {self.lora.alpha:g}"
        )
        ours, theirs = self._sizes, shape.layers
        differing = {
            "missing": ours.keys() - theirs.keys(),
            "that are not trained here": theirs.keys() - ours.keys(),
            "of another size": {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]},
        }
        details = [f"{len(names)} layers {what}, such as {min(names)}" for what, names in differing.items() if names]
        return "; ".join([head, *details]) + ". Give the model the LoRAConfig that the adapter was trained with."
