"""The arithmetic of an adapted layer: y = x W + scale * B (A x), the second part in the adapter's own precision.

One implementation, for sampling and training alike. Knows tensors; neither models nor files. Axes: T token, I input,
O output, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ADAPTER_DTYPE = torch.float32


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one layer."""

    A_RI: Tensor
    B_OR: Tensor
    scale: float


def add_low_rank(y: Tensor, x: Tensor, part: LowRank) -> Tensor:
    """Give the layer's output with the adapter's part added. `y` is used up: it may become the answer.

    The sum is rounded once, to the dtype of `y`. For the gradient `x` is kept as it is, in no other precision.
    """
    if torch.is_grad_enabled() and (x.requires_grad or part.A_RI.requires_grad):
        return _Sum.apply(y, x, part.A_RI, part.B_OR, part.scale)  # pyright: ignore[reportReturnType]
    return _summed(y, _low(x, part.A_RI), part)


def _low(x: Tensor, A_RI: Tensor) -> Tensor:
    x_TI = x.reshape(-1, x.shape[-1]).to(A_RI.dtype)
    return torch.mm(x_TI, A_RI.T)


def _summed(y: Tensor, low_TR: Tensor, part: LowRank) -> Tensor:
    y_TO = y.view(-1, y.shape[-1])
    if y.dtype == low_TR.dtype:
        y_TO.addmm_(low_TR, part.B_OR.T, alpha=part.scale)
        return y
    return y_TO.to(low_TR.dtype).addmm_(low_TR, part.B_OR.T, alpha=part.scale).to(y.dtype).view_as(y)


class _Sum(torch.autograd.Function):
    """The sum with its gradient; the layer's own part of it is the layer's business."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, A_RI: Tensor, B_OR: Tensor, scale: float) -> Tensor:
        low_TR = _low(x, A_RI)
        ctx.save_for_backward(x, A_RI, B_OR, low_TR)
        ctx.scale = scale
        summed = _summed(y, low_TR, LowRank(A_RI, B_OR, scale))
        if summed is y:
            ctx.mark_dirty(y)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        [gradient] = gradients
        x, A_RI, B_OR, low_TR = ctx.saved_tensors
        gradient_TO = gradient.reshape(-1, gradient.shape[-1]).to(A_RI.dtype)
        low_gradient_TR = torch.mm(gradient_TO, B_OR).mul_(ctx.scale)
        x_gradient = A_gradient_RI = B_gradient_OR = None
        if ctx.needs_input_grad[1]:
            x_gradient = torch.mm(low_gradient_TR, A_RI).to(x.dtype).view_as(x)
        if ctx.needs_input_grad[2]:
            A_gradient_RI = torch.mm(low_gradient_TR.T, x.reshape(-1, x.shape[-1]).to(A_RI.dtype))
            B_gradient_OR = torch.mm(gradient_TO.T, low_TR).mul_(ctx.scale)
        return gradient, x_gradient, A_gradient_RI, B_gradient_OR, None
