"""What the processes of one training step tell each other: tensors, gathered in the order of their ranks.

Nothing is summed on the way: a sum's last bits depend on its order, and each rank adds for itself in the order of the
micro-batches. Knows torch.distributed; no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed
from blake3 import blake3
from torch import Tensor

from art.errors import RankError


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """How many processes take a step together, and which of them this one is. By default it is the only one."""

    rank: int = 0
    count: int = 1

    def places(self, passes: int) -> list[int]:
        """Give which micro-batches this rank computes, one for each round.

        Every rank computes equally often: one for which none is left repeats the last, and that is not counted.
        """
        return [min(start + self.rank, passes - 1) for start in range(0, passes, self.count)]

    def gather(self, values: Tensor) -> list[Tensor]:
        """Give what each rank has, in their order; all have the same shape and type."""
        if self.count == 1:
            return [values]
        tensors = [torch.empty_like(values) for _ in range(self.count)]
        torch.distributed.all_gather(tensors, values)
        return tensors

    def gather_numbers(self, numbers: Iterable[float], device: torch.device) -> list[list[float]]:
        """Give the numbers of each rank; float64 holds them exactly."""
        own = torch.tensor(list(numbers), dtype=torch.float64, device=device)
        return [values.tolist() for values in self.gather(own)]

    def check_same(self, tensors: Iterable[Tensor], device: torch.device) -> None:
        """Check that every rank holds the same bits; raises `RankError`."""
        if self.count == 1:
            return
        hasher = blake3()
        for tensor in tensors:
            hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        digest = torch.tensor(list(hasher.digest()), dtype=torch.uint8, device=device)
        if any(not torch.equal(other, digest) for other in self.gather(digest)):
            raise RankError(
                "The ranks came to different weights in the same step, and it was undone: their processors or GPUs "
                "compute differently. Use equal ones, or LocalBackend(ranks=1)."
            )
