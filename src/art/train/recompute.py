"""What a model's layers keep for the backward pass: their tensors where there is room, and else only their input.

A layer that is computed again gives the same bits: the same operations on the same tensors, the same dropout. So what
is free may decide, and no number depends on it. Knows layers and bytes; knows no loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

COUNTED = 2
"""Layers of a pass that are counted: the first has no gradient to its input yet, and keeps less."""
AsNow = Callable[[], AbstractContextManager[object]]
"""Gives a context in which the model computes once more as it does now, adapter and dropout included."""


@dataclass(kw_only=True)
class LayerMemory:
    """Decides, layer by layer of one forward pass, what is kept."""

    as_now: AsNow = nullcontext
    limit_bytes: int = 0
    """What the layers of this pass may keep together."""
    counted_bytes: list[int] = field(default_factory=list[int])
    """What each of the first layers of this pass has kept."""
    kept_layers: int = 0
    _frozen: set[int] = field(default_factory=set[int])

    def watch(self, model: nn.Module) -> None:
        """Take charge of the model's layers from here on, those of a kind that can be computed again."""
        self._frozen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                forward = module.forward
                plain = forward.plain if isinstance(forward, _Watched) else forward
                module.forward = _Watched(plain, self)

    def begin(self, limit_bytes: int) -> None:
        """Start a forward pass whose layers may keep so much."""
        self.limit_bytes, self.counted_bytes, self.kept_layers = limit_bytes, [], 0

    def run(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Compute a layer with gradient."""
        if not self._has_room():
            return self._again(plain, *args, **kwargs)
        self.kept_layers += 1
        if self.kept_layers > COUNTED:
            return plain(*args, **kwargs)
        count = StorageCount(self._frozen)
        with count.counting():
            out = plain(*args, **kwargs)
        self.counted_bytes.append(count.total_bytes)
        return out

    def _has_room(self) -> bool:
        largest = max(self.counted_bytes, default=1)
        return (self.kept_layers + 1) * largest <= self.limit_bytes

    def _again(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        as_now = self.as_now()
        return checkpoint(
            functools.partial(plain, **kwargs), *args, use_reentrant=False, context_fn=lambda: (nullcontext(), as_now)
        )


class _Watched:
    """A layer's forward, in the care of a `LayerMemory`."""

    def __init__(self, plain: Callable[..., Any], memory: LayerMemory) -> None:
        self.plain = plain
        self._memory = memory

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run = self._memory.run if torch.is_grad_enabled() else _once
        return run(self.plain, *args, **kwargs)


def _once(plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return plain(*args, **kwargs)


class StorageCount:
    """Counts the bytes that are kept for a backward pass: those of distinct storages, weights left out."""

    def __init__(self, frozen: set[int]) -> None:
        self._frozen = frozen
        self._bytes: dict[int, int] = {}

    @property
    def total_bytes(self) -> int:
        return sum(self._bytes.values())

    def counting(self) -> AbstractContextManager[object]:
        """Count what is kept inside this context."""
        return torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        is_weight = storage.data_ptr() in self._frozen or (tensor.is_leaf and tensor.requires_grad)
        if not is_weight:
            self._bytes[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself: an output that its own node holds would never be freed.
        return tensor.detach()
