"""What becomes of a gradient: clipped, taken, looked at, and undone when the step it belongs to fails.

Knows parameters and AdamW; no model and no loss.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from art.config import TrainConfig
from art.errors import DivergedError, TrainingDataError
from art.train.state import MOMENTS, STEP, Progress

Parameters = Mapping[str, nn.Parameter]


def clip(parameters: Parameters, max_norm: float) -> float:
    """Scale the gradient down to `max_norm` and return the norm it had; raises `TrainingDataError`."""
    given = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(given, foreach=False)
    if not math.isfinite(norm.item()):
        raise not_finite("gradient")
    torch.nn.utils.clip_grads_with_norm_(list(parameters.values()), max_norm, norm, foreach=False)
    return norm.item()


def take(optimizer: torch.optim.AdamW, rate: float, config: TrainConfig) -> None:
    """Move the parameters along their gradient, and forget it."""
    for group in optimizer.param_groups:
        group.update(lr=rate, betas=config.betas, eps=config.adam_epsilon, weight_decay=config.weight_decay)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def check_finite(parameters: Parameters, optimizer: torch.optim.AdamW) -> None:
    """Look at all weights and moments at once; raises `DivergedError`."""
    tensors = [parameter.detach() for parameter in parameters.values()]
    tensors += [optimizer.state[parameter][moment] for parameter in parameters.values() for moment in MOMENTS]
    # A norm is finite where every value is, below 1e19: what is beyond is lost as well. One number crosses to the host.
    if not torch.stack(torch._foreach_norm(tensors)).isfinite().all().item():  # pyright: ignore[reportPrivateUsage]
        raise DivergedError(
            "This step would have left weights or moments that are not finite, and was undone. Lower learning_rate or "
            "max_grad_norm and train on the same groups again, or fork from an earlier step."
        )


def not_finite(what: str, *, rows_of: int | None = None) -> TrainingDataError:
    """Give the error of a loss or gradient that is not finite."""
    where = "" if rows_of is None else f" (rows of up to {rows_of} tokens)"
    return TrainingDataError(
        f"The {what} of this batch is not finite{where}; the adapter was left as it was. If it keeps happening, "
        "fork from an earlier step with a lower learning rate."
    )


@contextmanager
def undone_if_it_fails(parameters: Parameters, optimizer: torch.optim.AdamW, progress: Progress) -> Generator[None]:
    """Put weights, moments and counters back, to the bit, when the block does not come to its end."""
    tensors = tensors_of(parameters, optimizer)
    copies = [tensor.clone() for tensor in tensors]
    before = replace(progress)
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        optimizer.zero_grad(set_to_none=True)
        if not succeeded:
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)
            vars(progress).update(vars(before))


def tensors_of(parameters: Parameters, optimizer: torch.optim.AdamW) -> list[Tensor]:
    """Give every tensor that a step changes."""
    moments = [optimizer.state[each][name] for each in parameters.values() for name in (STEP, *MOMENTS)]
    return [*(parameter.detach() for parameter in parameters.values()), *moments]
