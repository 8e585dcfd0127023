"""What a sampler serves of one model: its newest weights, and the earlier steps that were asked for last.

Knows versions and checkpoints' folders; neither names nor training. Thread-safe. Nothing waits for a publication but
who asks for what it publishes.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from art.adapter.files import read_adapter_shape
from art.names import ModelRef
from art.sample.sampler import Sampler
from art.sample.version import Version

EARLIER_VERSIONS = 2
"""How many earlier steps stay published; a further one takes the place of the oldest."""


class Published:
    """The versions of one model. `find_adapter` gives the folder of an earlier step, None for weights of the base."""

    def __init__(self, model: ModelRef, sampler: Sampler, *, find_adapter: Callable[[int], Path | None]) -> None:
        self._model = model
        self._sampler = sampler
        self._find_adapter = find_adapter
        self._numbers = itertools.count()
        self._newest = 0
        self._versions: dict[int, Version] = {}
        self._leased: Counter[Version] = Counter()
        self._leaving: set[Version] = set()
        self._publishing = threading.Lock()
        """Held for as long as a sampler takes to read an adapter."""
        self._changing = threading.Lock()
        """Held for no longer than what it guards takes to change: the four above."""

    def serve(self, step: int, adapter: Path | None) -> None:
        """Let new requests see these weights as the newest; running ones finish on theirs."""
        with self._publishing:
            self._publish(step, adapter)
            with self._changing:
                self._newest = step
            self._retire(*(other for other in list(self._versions) if other != step))

    @contextmanager
    def lease(self, step: int | None) -> Generator[Version]:
        """Give the version of a step, None for the newest; until the block ends, nothing retires it.

        Beginning may publish an earlier step; ending waits for nothing.
        """
        version = self._take(step) or self._take_earlier(step)
        try:
            yield version
        finally:
            self._give_back(version)

    def close(self) -> None:
        """Retire every version."""
        with self._publishing:
            self._retire(*list(self._versions))

    def _take(self, step: int | None) -> Version | None:
        with self._changing:
            version = self._versions.get(self._newest if step is None else step)
            if version:
                self._leased[version] += 1
            return version

    def _take_earlier(self, step: int | None) -> Version:
        with self._publishing:
            wanted = self._newest if step is None else step
            if version := self._take(wanted):
                return version
            adapter = self._find_adapter(wanted)
            earlier = [other for other in self._versions if other != self._newest]
            self._retire(*earlier[: len(earlier) + 1 - EARLIER_VERSIONS])
            self._publish(wanted, adapter)
            version = self._take(wanted)
            assert version is not None, "only who publishes retires"
            return version

    def _give_back(self, version: Version) -> None:
        with self._changing:
            self._leased[version] -= 1
            is_over = not self._leased[version]
            if is_over:
                del self._leased[version]
            is_leaving = is_over and version in self._leaving
            self._leaving -= {version} if is_leaving else set()
        if is_leaving:
            self._sampler.retire(version)

    def _publish(self, step: int, adapter: Path | None) -> None:
        if adapter is not None:
            # Whoever samples: a server of others may leave out what it does not understand.
            read_adapter_shape(adapter)
        version = Version(model=self._model, publication=next(self._numbers), step=step)
        self._sampler.publish(version, adapter)
        self._retire(step)
        with self._changing:
            self._versions[step] = version

    def _retire(self, *steps: int) -> None:
        """Let go of steps; of a version that is leased, when the last lease ends."""
        with self._changing:
            leaving = {version for step in steps if (version := self._versions.pop(step, None))}
            leased = {version for version in leaving if self._leased[version]}
            self._leaving |= leased
        for version in leaving - leased:
            self._sampler.retire(version)
