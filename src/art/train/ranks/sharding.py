"""The frozen base divided among ranks: each holds its part of every layer, and gathers a layer while it computes it.

Gathered weights have the bits that they had whole. The adapter is small and stays whole on each rank, and so do the
embeddings and what lies outside the layers.
"""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from art.train.ranks.collective import Ranks

AS_IT_IS = MixedPrecisionPolicy(cast_forward_inputs=False)


def shard(model: PreTrainedModel, ranks: Ranks) -> None:
    """Keep this rank's part of each layer of the decoder; the others' is freed once nobody else holds the base."""
    mesh = init_device_mesh(model.device.type, (ranks.count,))
    decoder = cast(nn.Module, getattr(model, model.base_model_prefix))
    for layer in [module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)]:
        fully_shard(layer, mesh=mesh, mp_policy=AS_IT_IS)
    whole = {parameter for parameter in decoder.parameters() if not isinstance(parameter, DTensor)}
    fully_shard(decoder, mesh=mesh, mp_policy=AS_IT_IS, ignored_params=whole)


def held_bytes(model: nn.Module) -> int:
    """Count the bytes of parameters that this process holds."""
    tensors = [each.to_local() if isinstance(each, DTensor) else each for each in model.parameters()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
