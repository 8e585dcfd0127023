"""A model of its own: a base with an adapter added into its weights, for programs that load no adapters.

What does not fit the base's precision is rounded away, and how much that is is told. Nothing here is used to train or
to sample. Axes: I input, O output, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from art.adapter.files import read_adapter
from art.adapter.four_bits import quantisation_of
from art.adapter.layers import linear_layers, sizes_of
from art.adapter.loading import load_base, quiet
from art.adapter.product import LowRank
from art.errors import ConfigurationError, StorageError

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class WholeModel:
    """What a merge wrote."""

    dtype: str
    layers: int
    lost: float
    """The share of the update that rounding to the base's precision took, by norm: 0 for all of it kept."""


@torch.no_grad()
def write_merged(base_model: str, adapter: Path, folder: Path, *, dtype: torch.dtype | None = None) -> WholeModel:
    """Write a base model with an adapter merged in, and its tokenizer, as transformers loads them.

    `dtype` is the base's own unless one is given. Raises `ModelNotFoundError` for a base out of reach,
    `ConfigurationError` for one in 4 bits, and what `read_adapter` does.
    """
    module, tokenizer = load_base(base_model, device=CPU, dtype=dtype or "auto")
    if kind := quantisation_of(module):
        raise ConfigurationError(
            f"{base_model!r} is in {kind}, which an adapter cannot be merged into; give the model that it came from."
        )
    layers = linear_layers(module)
    parts = read_adapter(adapter, sizes_of(layers), device=CPU)
    wanted, lost = 0.0, 0.0
    for name, part in parts.items():
        layer: Any = layers[name]
        _untie(module, layer)
        update = _update(layer, part)
        before = layer.weight.to(torch.float32, copy=True)
        layer.weight.copy_(before + update)
        wanted += update.square().sum().item()
        lost += (layer.weight.float() - before - update).square().sum().item()
    try:
        with quiet():
            module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The merged model cannot be written into {folder}: {error}") from error
    share = (lost / wanted) ** 0.5 if wanted else 0.0
    return WholeModel(dtype=str(module.dtype).removeprefix("torch."), layers=len(parts), lost=share)


def _update(layer: Any, part: LowRank) -> Tensor:
    """Give s B A as the layer holds its weight: O x I, or turned for GPT-2's."""
    update_OI = part.scale * (part.B_OR @ part.A_RI)
    return update_OI.T if isinstance(layer, Conv1D) else update_OI


def _untie(module: PreTrainedModel, layer: Any) -> None:
    """Give an output layer weights of its own where it shares those of the embeddings, which stay as they are."""
    embeddings: Any = module.get_input_embeddings()
    if layer is module.get_output_embeddings() and layer.weight is embeddings.weight:
        layer.weight = torch.nn.Parameter(layer.weight.clone(), requires_grad=False)
        module.config.tie_word_embeddings = False
