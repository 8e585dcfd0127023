"""The linear layers of a base model: which there are, how large they are, and which of them an adapter is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from art.config import ALL_LINEAR, LoRAConfig
from art.errors import ConfigurationError
from art.format.adapter import LayerSize, named


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Give the layers that an adapter can be for, by name; a layer under two names goes by the first.

    A router is none, though some are linear: what it gives is a choice of experts.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    return {name: layer for name, layer in linear.items() if not type(layer).__name__.endswith("Router")}


def sizes_of(layers: Mapping[str, nn.Module]) -> dict[str, LayerSize]:
    """Give how large each layer is."""
    return {name: _size(layer) for name, layer in layers.items()}


def targeted(model: PreTrainedModel, lora: LoRAConfig) -> dict[str, LayerSize]:
    """Give the layers that a configuration means; raises `ConfigurationError`, and has allocated nothing.

    Fused experts are no linear layers, under whatever names.
    """
    layers = linear_layers(model)
    if lora.targets == ALL_LINEAR:
        output = model.get_output_embeddings()
        chosen = {name: layer for name, layer in layers.items() if layer is not output}
    else:
        _check_known(lora.targets, layers, model)
        chosen = {name: layer for name, layer in layers.items() if _is_called(name, lora.targets)}
    sizes = sizes_of(chosen)
    largest = max((max(size.inputs, size.outputs) for size in sizes.values()), default=0)
    if lora.rank > largest:
        raise ConfigurationError(
            f"A LoRA adapter of rank {lora.rank:,} does not fit {type(model).__name__}: its largest layer has "
            f"{largest:,} inputs or outputs. Ranks from 1 to 64 are usual."
        )
    return sizes


def _check_known(targets: Sequence[str], layers: Mapping[str, nn.Module], model: PreTrainedModel) -> None:
    unknown = [target for target in targets if not any(_is_called(name, (target,)) for name in layers)]
    if not targets or unknown:
        last_names = dict.fromkeys(name.rpartition(".")[2] for name in layers)
        raise ConfigurationError(
            f"{type(model).__name__} has no linear layer called {named(unknown) or 'nothing'}; it has "
            f"{', '.join(last_names)}. Experts in one tensor cannot be adapted. Name others in LoRAConfig(targets=...)."
        )


def _is_called(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _size(layer: nn.Module) -> LayerSize:
    if isinstance(layer, nn.Linear):
        return LayerSize(inputs=layer.in_features, outputs=layer.out_features)
    # Conv1D is a linear layer whose weight lies the other way round.
    inputs, outputs = cast(Conv1D, layer).weight.shape
    return LayerSize(inputs=inputs, outputs=outputs)
