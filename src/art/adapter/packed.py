"""Weights in the order in which oneDNN reads them, in place of the rows of numbers that they were.

From two rows on a product in float32 has the same bits either way, and a step of few rows takes down to two thirds of
the time. The numbers are in memory once: whoever asks a layer for them has them unpacked. Axes: T token, I input, O
output.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from art.adapter.layers import linear_layers
from art.adapter.neighbours import OF_ONE_INPUT
from art.adapter.product import float32_products, input_gradient, multiply

FAMILIES = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
"""Models built as Llama is: each layer's inputs and neighbours are known, and all of a group are always asked."""
EXPECTED_ROWS = 32


def is_plain(model: nn.Module) -> bool:
    """Say whether a model is built as Llama is, its layers all in plain numbers, packed or not."""
    layers = linear_layers(model).values()
    return type(model).__name__ in FAMILIES and all(type(layer) in (nn.Linear, PackedLinear) for layer in layers)


def pack(model: nn.Module) -> None:
    """Pack the decoder's weights of a plain model where oneDNN multiplies float32; others stay as they are.

    An output layer stays too: its numbers are often those of the embeddings, of which single rows are read.
    """
    weight = next(model.parameters())
    if weight.dtype != torch.float32 or float32_products(weight.device) != "onednn" or not is_plain(model):
        return
    for parent in model.modules():
        for names in (*OF_ONE_INPUT, ("o_proj",), ("down_proj",)):
            layers = [getattr(parent, name, None) for name in names]
            plain = [layer for layer in layers if type(layer) is nn.Linear and not layer.weight.is_meta]
            if len(plain) == len(names) and len({_bias(layer) is None for layer in plain}) == 1:
                group = PackedGroup(plain)
                for place, (name, layer) in enumerate(zip(names, plain, strict=True)):
                    setattr(parent, name, PackedLinear(layer, group, place))


def _bias(layer: nn.Linear) -> Tensor | None:
    return layer.bias  # torch says that there always is one


class PackedGroup:
    """The weights of layers that read one input, packed as one; a product is computed when the first of them asks."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        together = torch.cat([layer.weight.detach() for layer in layers])
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(together, EXPECTED_ROWS)
        biases = [bias.detach() for layer in layers if (bias := _bias(layer)) is not None]
        self.bias_O: Tensor | None = torch.cat(biases) if biases else None
        self.columns = [
            slice(*ends) for ends in pairwise(accumulate((layer.out_features for layer in layers), initial=0))
        ]
        self._input: weakref.ref[Tensor] | None = None
        self._outputs: list[Tensor | None] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedGroup:
        """Give a group for another tree of modules, which may compute in another thread; the weights are shared."""
        copied = object.__new__(PackedGroup)
        copied.packed, copied.bias_O, copied.columns = self.packed, self.bias_O, self.columns
        copied._input, copied._outputs = None, []
        return copied

    def output(self, x: Tensor, place: int) -> Tensor:
        """Give one layer's product, without gradient; it is the caller's own."""
        if len(self.columns) == 1:
            return multiply(x, self.packed, self.bias_O)
        is_known = self._input is not None and self._input() is x and self._outputs[place] is not None
        if not is_known:
            y = multiply(x, self.packed, self.bias_O)
            self._outputs = [y[..., at].clone(memory_format=torch.contiguous_format) for at in self.columns]
            self._input = weakref.ref(x)
        output, self._outputs[place] = self._outputs[place], None
        assert output is not None
        return output

    def weight_OI(self, place: int) -> Tensor:
        """Give one layer's numbers as rows."""
        return self.packed.to_dense()[self.columns[place]]


class PackedLinear(nn.Linear):
    """A linear layer whose numbers are packed with those of its neighbours."""

    def __init__(self, layer: nn.Linear, group: PackedGroup, place: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias
        self.group, self.place = group, place
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The numbers as rows, unpacked at each call; changing them changes nothing."""
        return self.group.weight_OI(self.place)

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and input.requires_grad:
            return _Product.apply(input, self.group, self.place)  # pyright: ignore[reportReturnType]
        return self.group.output(input, self.place)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.weight


class _Product(torch.autograd.Function):
    """A layer's product with its gradient, for which the weights are unpacked."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: PackedGroup, place: int) -> Tensor:
        ctx.group, ctx.place = group, place
        return group.output(x, place)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return input_gradient(gradients[0], ctx.group.weight_OI(ctx.place)), None, None
