"""One device for training and sampling: the sampler leaves it for as long as a step is computed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from art.local.bases import Base
from art.sample.sampler import SharingSampler
from art.train.memory import give_back_memory


@contextmanager
def device_free(base: Base) -> Generator[None]:
    """Let a sampler that shares its device with training leave it while the block runs.

    Ranks compute in processes of their own, which keep what they have: beside them a sampler keeps its share.
    """
    if base.ranks > 1 or not isinstance(base.sampler, SharingSampler):
        yield
        return
    with base.sampler.resting():
        try:
            yield
        finally:
            give_back_memory()
