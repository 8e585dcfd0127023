"""Layers of one input whose weights lie next to each other in memory, so that one product can be for all of them.

The weights are where they were for everybody else: each layer has its part, and there is one copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OF_ONE_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def lay_together(model: nn.Module) -> None:
    """Lay the weights of plain layers that read one input next to each other, one group after the other."""
    for parent in model.modules():
        for names in OF_ONE_INPUT:
            layers = [getattr(parent, name, None) for name in names]
            plain = [layer for layer in layers if type(layer) is nn.Linear and not layer.weight.is_meta]
            if len(plain) == len(names) and joined([layer.weight for layer in plain]) is None:
                sizes = [layer.out_features for layer in plain]
                together = torch.cat([layer.weight.data for layer in plain]).split(sizes)
                for layer, part in zip(plain, together, strict=True):
                    layer.weight.data = part


def joined(weights: Sequence[Tensor]) -> Tensor | None:
    """Give weights that follow each other in memory as one; None where they do not."""
    first, end = weights[0], weights[0].data_ptr()
    for weight in weights:
        is_next = weight.is_contiguous() and weight.data_ptr() == end and weight.shape[1:] == first.shape[1:]
        if not is_next or weight.dtype != first.dtype:
            return None
        end += weight.nbytes
    rows = sum(map(len, weights))
    if first.untyped_storage().data_ptr() + first.untyped_storage().nbytes() < end:
        return None
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))
