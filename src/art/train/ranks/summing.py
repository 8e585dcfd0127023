"""The gradient of several micro-batches, added in their order, whichever rank computed each.

Knows parameters and their gradients; no model and no loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from art.train.ranks.collective import Ranks


class OrderedSum:
    """Adds what each round of micro-batches leaves in the parameters' gradients.

    Autograd adds in that order too, so a single process leaves it to it.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], ranks: Ranks) -> None:
        self._parameters = list(parameters.values())
        self._ranks = ranks
        self._sums: list[Tensor | None] = [None] * len(self._parameters)

    def add(self, counted: int) -> None:
        """Add the gradients that this round's first `counted` ranks have computed."""
        if self._ranks.count > 1:
            for values in self._ranks.gather(self._taken())[:counted]:
                self._add(values)

    def finish(self) -> None:
        """Leave the sum in the parameters' gradients."""
        if self._ranks.count > 1:
            for parameter, total in zip(self._parameters, self._sums, strict=True):
                parameter.grad = total

    def _taken(self) -> Tensor:
        """Take this rank's gradients away as one vector; behind them stands which parameters have one."""
        gradients = [parameter.grad for parameter in self._parameters]
        flat = [
            (torch.zeros_like(parameter) if gradient is None else gradient).detach().reshape(-1)
            for parameter, gradient in zip(self._parameters, gradients, strict=True)
        ]
        for parameter in self._parameters:
            parameter.grad = None
        present = [float(gradient is not None) for gradient in gradients]
        return torch.cat([*flat, torch.tensor(present, dtype=flat[0].dtype, device=flat[0].device)])

    def _add(self, values: Tensor) -> None:
        present = values[-len(self._parameters) :].tolist()
        parts = values[: -len(self._parameters)].split([parameter.numel() for parameter in self._parameters])
        for place, (parameter, part) in enumerate(zip(self._parameters, parts, strict=True)):
            if not present[place]:
                continue
            total = self._sums[place]
            if total is None:
                self._sums[place] = part.reshape(parameter.shape).clone()
            else:
                total.add_(part.reshape(parameter.shape))
