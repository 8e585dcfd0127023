"""From the name in a request to tokens on their way: which weights a name means, and a place with whatever samples.

Knows names, versions and the sampler; not where versions come from, nor HTTP.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Protocol

from art.http.seeds import DerivedSeeds
from art.sample.generation import Generation
from art.sample.sampler import Sampler
from art.sample.sampling import Sampling
from art.sample.version import Version


class Models(Protocol):
    """What names mean; called in threads."""

    def names(self) -> list[str]:
        """Give the names that are listed."""
        ...

    def lease(self, name: str) -> AbstractContextManager[Version]:
        """Give the version that a name means now; until the block ends, nothing retires it.

        Beginning may read a checkpoint, and raises `NotFoundError` for a name that means nothing; ending waits for
        nothing.
        """
        ...


class Catalogue:
    """A sampler, and the names of what it serves.

    With `run_seed`, requests without a seed get one that follows from it, the version's step and the request's content.
    """

    def __init__(self, sampler: Sampler, models: Models, *, run_seed: int | None = None) -> None:
        self.sampler = sampler
        self._models = models
        self._seeds = None if run_seed is None else DerivedSeeds(run_seed)

    @property
    def derives_seeds(self) -> bool:
        return self._seeds is not None

    def names(self) -> list[str]:
        return self._models.names()

    async def submit(
        self, name: str, prompt_ids: tuple[int, ...], *, sampling: Sampling, n: int, content: str
    ) -> tuple[Generation, Version]:
        """Queue a request for the weights that a name means now; `content` is what a seed is derived from.

        Raises `NotFoundError`, and what the sampler's `submit` raises.
        """
        lease = self._models.lease(name)
        version = await _begin(lease)
        with ExitStack() as ending:
            ending.push(lease)
            seeds = self._seeds if sampling.seed is None else None
            if seeds:
                sampling = replace(sampling, seed=seeds.peek(version, content))
            generation = self.sampler.submit(version, prompt_ids, sampling=sampling, n=n)
            if seeds:
                seeds.take(version, content)
            return generation, version


async def _begin(lease: AbstractContextManager[Version]) -> Version:
    """Begin a lease in a thread; where nobody waits for it any more, it ends as soon as it has begun."""

    def end(begun: asyncio.Future[Version]) -> None:
        if not begun.cancelled() and not begun.exception():
            lease.__exit__(None, None, None)

    beginning = asyncio.ensure_future(asyncio.to_thread(lease.__enter__))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        beginning.add_done_callback(end)
        raise
