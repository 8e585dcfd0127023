"""The arithmetic of an adapted layer: y = x W + scale * B (A x), the second part in the adapter's own precision.

On a processor of the x86 kind oneDNN multiplies in float32 too, as torch lets it do in bfloat16: in half the time of
the library that torch asks. In float32 a row's bits then depend neither on the number of rows, from two on, nor on the
threads. In bfloat16 they depend on no other row either, but on how many there are, where a processor has tiles (AMX).

One implementation, for sampling and training alike. Knows tensors; neither models nor files. Axes: T token, I input,
O output, R rank.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def _has_maker(name: str) -> bool:
    """Tell whether the processor says that this is its maker."""
    try:
        return name in Path("/proc/cpuinfo").read_text()
    except OSError:
        return name in platform.processor()


ADAPTER_DTYPE = torch.float32
HAS_ONEDNN = (
    platform.machine().lower() in {"x86_64", "amd64"}
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
HAS_BFLOAT16 = HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()
IS_AMDS = _has_maker("AuthenticAMD")
MANY_TOKENS = 512
"""From so many on oneDNN is the faster one for the adapter's narrow matrices; below, it takes longer to begin."""


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one layer."""

    A_RI: Tensor
    B_OR: Tensor
    scale: float


def float32_products(device: torch.device) -> str:
    """Name the library that multiplies float32 matrices on this device."""
    return "onednn" if HAS_ONEDNN and device.type == "cpu" else "torch"


def multiply(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Give the base's part of a layer's output; the weights, packed for oneDNN or not, get no gradient."""
    if not _is_onednns(x, weight_OI):
        return functional.linear(x, weight_OI, bias_O)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, weight_OI, bias_O)  # pyright: ignore[reportReturnType]
    return _onednn(x, weight_OI, bias_O)


def input_gradient(gradient: Tensor, weight_OI: Tensor) -> Tensor:
    """Give what oneDNN's product gives back to its input."""
    return _onednn(gradient, weight_OI.T)


def add_low_rank(y: Tensor, x: Tensor, part: LowRank) -> Tensor:
    """Give the layer's output with the adapter's part added. `y` is used up: it may become the answer.

    The sum is rounded once, to the dtype of `y`. For the gradient `x` is kept as it is, in no other precision.
    """
    if torch.is_grad_enabled() and (x.requires_grad or part.A_RI.requires_grad):
        return _Sum.apply(y, x, part.A_RI, part.B_OR, part.scale)  # pyright: ignore[reportReturnType]
    return _summed(y, _low(x, part.A_RI), part)


def _is_onednns(x: Tensor, weight_OI: Tensor) -> bool:
    if not HAS_ONEDNN or x.device.type != "cpu" or x.dtype != weight_OI.dtype:
        return False
    return x.dtype == torch.float32 or (HAS_BFLOAT16 and x.dtype == torch.bfloat16)


def _onednn(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    x_TI = x.reshape(-1, x.shape[-1])
    tokens = len(x_TI)
    if tokens == 1 and x.dtype == torch.float32 and not weight_OI.is_mkldnn:
        return _of_one(x_TI, weight_OI, bias_O).reshape(*x.shape[:-1], -1)
    if (places := _places(tokens)) > tokens:
        x_TI = functional.pad(x_TI, (0, 0, 0, places - tokens))
    y_TO = torch.ops.mkldnn._linear_pointwise(x_TI, weight_OI, bias_O, "none", [], "")
    # No view: the adapter's part is added in place, which autograd allows for what a function of ours made itself.
    return y_TO.resize_([*x.shape[:-1], y_TO.shape[-1]])


def _of_one(x_1I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Multiply for a lone row by MKL, which reads the weights faster than oneDNN does.

    On a processor of AMD the row stands there twice: MKL takes half the time for two columns, and twice on Intel's.
    """
    if not IS_AMDS:
        return functional.linear(x_1I, weight_OI, bias_O)
    y_O2 = torch.mm(weight_OI, x_1I.repeat(2, 1).T)
    y_1O = y_O2[:, 0].contiguous()[None]
    return y_1O if bias_O is None else y_1O.add_(bias_O)


def _places(tokens: int) -> int:
    """Give the number of rows that a product of so many tokens is computed with: an eighth more at most, beyond 32.

    oneDNN compiles a program for every number of rows, keeps it, and takes half a MiB for each; a run has thousands.
    """
    if tokens <= 2:
        return tokens
    rung = max(4, 1 << max((tokens - 1).bit_length() - 4, 0))
    return -(-tokens // rung) * rung


def _mm(first_TI: Tensor, second_IO: Tensor) -> Tensor:
    """Multiply many tokens by a matrix of which one side is as narrow as an adapter's rank."""
    if len(first_TI) < MANY_TOKENS or not _is_onednns(first_TI, second_IO):
        return torch.mm(first_TI, second_IO)
    return _onednn(first_TI, second_IO.T)


def _low(x: Tensor, A_RI: Tensor) -> Tensor:
    x_TI = x.reshape(-1, x.shape[-1]).to(A_RI.dtype)
    return _mm(x_TI, A_RI.T)


def _summed(y: Tensor, low_TR: Tensor, part: LowRank) -> Tensor:
    y_TO = y.view(-1, y.shape[-1])
    if y.dtype == low_TR.dtype:
        y_TO.addmm_(low_TR, part.B_OR.T, alpha=part.scale)
        return y
    return y_TO.to(low_TR.dtype).addmm_(low_TR, part.B_OR.T, alpha=part.scale).to(y.dtype).view_as(y)


class _Product(torch.autograd.Function):
    """The base's part with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight_OI)
        return _onednn(x, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        [weight_OI] = ctx.saved_tensors
        return input_gradient(gradients[0], weight_OI), None, None


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
        low_gradient_TR = _mm(gradient_TO, B_OR).mul_(ctx.scale)
        x_gradient = A_gradient_RI = B_gradient_OR = None
        if ctx.needs_input_grad[1]:
            x_gradient = _mm(low_gradient_TR, A_RI).to(x.dtype).view_as(x)
        if ctx.needs_input_grad[2]:
            # Sums over the tokens, with the narrow matrix in front: behind, it takes up to seven times as long.
            A_gradient_RI = torch.mm(low_gradient_TR.T, x.reshape(-1, x.shape[-1]).to(A_RI.dtype))
            B_gradient_OR = torch.mm(low_TR.T, gradient_TO).mul_(ctx.scale).T.contiguous()
        return gradient, x_gradient, A_gradient_RI, B_gradient_OR, None
