"""Functions of single numbers whose bits depend on no place of a batch.

On a processor torch computes such a function for several numbers at a time, and for those left over at the end of a
thread's stretch in a way that rounds otherwise. Where a stretch ends depends on the number of rows and of threads: with
3 threads, rows in the middle of a batch get other bits than the same rows elsewhere. A row by itself has no neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_NAMES = ("sigmoid", "tanh", "exp", "pow", "cos", "sin")
_ACTIVATIONS = ("silu", "gelu", "softplus", "mish", "elu", "selu", "celu", "logsigmoid", "sigmoid", "tanh")
ROUNDED: frozenset[Callable[..., Any]] = frozenset(
    [getattr(torch, name) for name in _NAMES]
    + [getattr(Tensor, name) for name in (*_NAMES, "__pow__")]
    + [getattr(functional, name) for name in _ACTIVATIONS]
)
"""What torch approximates. Sums, products and roots are rounded as they are, wherever they stand."""

WHOLE, STRETCH = 64, 32_768
"""A multiple of what any processor computes at a time; so many numbers torch leaves to one thread."""


class PartsApart(TorchFunctionMode):
    """While it is entered, each part of a batch goes through such a function by itself.

    The parts lie behind each other along `dim`; before that axis the batch has nothing but axes of one.
    """

    def __init__(self, sizes: Sequence[int], *, dim: int = 0) -> None:
        super().__init__()
        self._sizes, self._dim = list(sizes), dim
        self._shape = (*[1] * dim, sum(sizes))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in ROUNDED or args[0].shape[: self._dim + 1] != self._shape or self._is_steady(args[0]):
            return func(*args, **kwargs)
        parts = args[0].split(self._sizes, dim=self._dim)
        return torch.cat([func(part, *args[1:], **kwargs) for part in parts], dim=self._dim)

    def _is_steady(self, values: Tensor) -> bool:
        """Tell whether nothing is left over anywhere: rows are whole multiples, and one thread has them all."""
        if values.device.type != "cpu":
            return True
        is_whole = values.select(self._dim, 0).numel() % WHOLE == 0
        return is_whole and (values.numel() <= STRETCH or torch.get_num_threads() == 1)


def row_by_row(rows: int) -> PartsApart:
    """Give what lets each of a batch's rows go through such a function by itself."""
    return PartsApart([1] * rows)
