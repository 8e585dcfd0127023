"""A base model to whose linear layers an adapter adds its part, beside the base's tensors and never in them.

Knows the module tree and what is added to it; neither files nor what is sampled or trained.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from art.adapter.layers import linear_layers, sizes_of
from art.adapter.product import LowRank, add_low_rank, multiply

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
LowRanks = Mapping[str, LowRank]
"""An adapter in memory: what it adds to each of its layers, by their names. Empty, it is the base model."""


Span = tuple[slice, LowRanks]
"""Some rows of a pass, next to each other, and the adapter that is for them."""


class AdaptedModel:
    """A module tree of its own over the base's tensors; during a forward pass the adapter that is set adds its part.

    An output layer that shares its matrix with the embeddings is adapted by itself: the embeddings stay the base's.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.model = _sharing_copy(base).eval()
        layers = linear_layers(self.model)
        self.sizes = sizes_of(layers)
        self._low_ranks: LowRanks = {}
        self._spans: Sequence[Span] = ()
        self._apart: Sequence[slice] = ()
        self.keeps_rows = not _has_experts(self.model)
        """Whether every layer sees all rows of a pass, in their order; experts see some of them."""
        self._dropout = 0.0
        for name, layer in layers.items():
            # Only a plain one: a base in 4 bits has layers that are linear in a way of their own.
            if type(layer) is nn.Linear:
                layer.forward = _Product(layer)
            layer.register_forward_hook(_Addition(self, name))

    @property
    def is_bare(self) -> bool:
        """Whether no adapter is applied now."""
        return not self._low_ranks and not self._spans

    def set(self, low_ranks: LowRanks) -> None:
        """Apply this adapter from here on."""
        self._low_ranks = low_ranks

    @contextmanager
    def replaced(self, low_ranks: LowRanks) -> Generator[None]:
        """Apply another adapter for a while."""
        own, self._low_ranks = self._low_ranks, low_ranks
        try:
            yield
        finally:
            self._low_ranks = own

    @contextmanager
    def side_by_side(self, spans: Sequence[Span]) -> Generator[None]:
        """Apply an adapter to each of these runs of rows for a while, without gradient; the base is read once."""
        assert self.keeps_rows
        self._spans = spans
        try:
            yield
        finally:
            self._spans = ()

    @contextmanager
    def dropping_out(self, probability: float) -> Generator[None]:
        """Let the adapter's dropout work for a while; the base model's own never does."""
        before, self._dropout = self._dropout, probability
        try:
            yield
        finally:
            self._dropout = before

    @contextmanager
    def apart(self, tokens: Sequence[slice]) -> Generator[None]:
        """Apply the adapter to each of these runs of a pass's tokens by itself for a while, without gradient.

        A run then has the bits that it has alone: the narrow products round with the number of rows, and with where
        in memory they begin.
        """
        assert self.keeps_rows
        self._apart = tokens
        try:
            yield
        finally:
            self._apart = ()

    def as_now(self) -> AbstractContextManager[None]:
        """Give a context in which a pass computes as it would now, for one that is computed a second time."""
        return self._as(self._low_ranks, self._dropout)

    @contextmanager
    def _as(self, low_ranks: LowRanks, dropout: float) -> Generator[None]:
        with self.replaced(low_ranks), self.dropping_out(dropout):
            yield

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """Give a layer's output with the adapter's part."""
        for rows, low_ranks in self._spans:
            part = low_ranks.get(name)
            if part is not None:
                summed = add_low_rank(y[rows], x[rows], part)
                if summed.data_ptr() != y[rows].data_ptr():
                    y[rows] = summed
        part = self._low_ranks.get(name)
        if part is None:
            return y
        if self._apart:
            return self._add_apart(x, y, part)
        if self._dropout:
            x = functional.dropout(x.to(part.A_RI.dtype), self._dropout)
        return add_low_rank(y, x, part)

    def _add_apart(self, x: Tensor, y: Tensor, part: LowRank) -> Tensor:
        x_TI, y_TO = x.flatten(0, -2), y.flatten(0, -2)
        summed = [add_low_rank(y_TO[run].clone(), x_TI[run].clone(), part) for run in self._apart]
        return torch.cat(summed).view_as(y)


class _Product:
    """How a layer computes the base's part."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer

    def __call__(self, input: Tensor) -> Tensor:
        return multiply(input, self._layer.weight, self._layer.bias)


class _Addition:
    """What happens after a layer has computed the base's part."""

    def __init__(self, adapted: AdaptedModel, name: str) -> None:
        self._adapted = adapted
        self._name = name

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        return self._adapted.add(self._name, inputs[0], y)


def _has_experts(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config(decoder=True)
    # Newer families keep all experts of a layer in one tensor, under whatever name their configuration has for it.
    in_one = any(parameter.ndim == 3 for parameter in model.parameters())
    return in_one or any(getattr(config, name, None) for name in EXPERTS)


def _sharing_copy(base: PreTrainedModel) -> PreTrainedModel:
    """Copy the module tree but not its tensors; the copy's parameters are frozen, the base's flags stay as they are."""
    memo: dict[int, object] = {}
    for parameter in base.parameters():
        # One of a class of its own, as 4 bits are, carries more than its numbers, and has no gradient to freeze.
        is_plain = type(parameter) is nn.Parameter
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False) if is_plain else parameter
    states = (getattr(module, "quant_state", None) for module in base.modules())
    memo.update((id(state), state) for state in states if state is not None)
    return copy.deepcopy(base, memo)
