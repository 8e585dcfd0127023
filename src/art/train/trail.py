"""Digests of what a training step computes on its way, stage by stage; a replay names the first that differs.

Equal digests are equal bits. Knows tensors, rows and numbers; no model.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import torch
from blake3 import blake3
from torch import Tensor

from art.train.batch import Example

RENDERING, ADVANTAGE, LOGP, LOSS, GRADIENT = "rendering", "advantage", "log-probability", "loss", "gradient"
STAGES = (RENDERING, ADVANTAGE, LOGP, LOSS, GRADIENT)
"""In the order in which a step comes to them."""
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_LOW = 2**32 - 1


class Trail:
    """Follows one training step."""

    def __init__(self) -> None:
        self._hashers = {stage: blake3() for stage in STAGES}

    def examples(self, examples: Iterable[Example]) -> None:
        """Note what an optimiser step reads, and the advantages it learns by."""
        for example in examples:
            row = example.row
            self._add(RENDERING, array("q", (len(row.token_ids), len(row.spans), *row.token_ids)))
            for span in row.spans:
                self._add(RENDERING, array("q", (span.start, len(span.logprobs), span.masked)))
                self._add(RENDERING, array("d", (span.temperature, *span.logprobs)))
            self._add(ADVANTAGE, array("d", (example.trajectory, example.trajectory_tokens, *example.advantages)))

    def forward(self, logp_checksum: Sequence[float], loss: float) -> None:
        """Note a forward pass: the trainer's log-probabilities, by their checksum, and the sum of its losses."""
        self._add(LOGP, array("d", logp_checksum))
        self._add(LOSS, array("d", (loss,)))

    def gradient(self, gradients: Iterable[Tensor | None]) -> None:
        """Note the gradient of an optimiser step, before it is clipped."""
        self._add(GRADIENT, array("d", checksums(gradients)))

    def digests(self) -> dict[str, str]:
        """Give what was noted, by stage."""
        return {stage: hasher.hexdigest() for stage, hasher in self._hashers.items()}

    def _add(self, stage: str, numbers: array[int] | array[float]) -> None:
        self._hashers[stage].update(numbers.tobytes())


def checksums(tensors: Iterable[Tensor | None]) -> list[float]:
    """Give two numbers below 2^32 for each tensor, which change with any of its bits; they cross to the host at once.

    A sum of whole numbers has one value in every order, so that a device may add as it likes.
    """
    given = [_checksum(tensor) if tensor is not None else None for tensor in tensors]
    sums = [value for value in given if value is not None]
    numbers = iter(torch.stack(sums).tolist() if sums else ())
    values = [-1 if value is None else next(numbers) for value in given]
    return [float(half) for value in values for half in (value & _LOW, value >> 32 & _LOW)]


def _checksum(tensor: Tensor) -> Tensor:
    bits = tensor.detach().contiguous().reshape(-1).view(_WHOLE[tensor.element_size()]).to(torch.int64)
    # An odd factor keeps every bit of what it multiplies, modulo 2^64; each place has its own.
    factors = torch.arange(bits.numel(), dtype=torch.int64, device=bits.device) * 2 + 1
    return (bits * factors).sum()
