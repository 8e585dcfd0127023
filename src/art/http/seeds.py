"""Seeds for requests that bring none, so that a whole run repeats.

Knows a version's step, and text.
"""

from __future__ import annotations

from collections import Counter

from blake3 import blake3

from art.sample.version import Version

SEPARATOR = "\x1f"


class DerivedSeeds:
    """Derives a request's seed from the run's seed, the step, the content, and how often that content came before.

    Which of several equal requests arrives first makes no difference to what they are answered together. The project's
    and the model's name do not count, so a fork repeats its original's samples; each model counts for itself.
    """

    def __init__(self, run_seed: int) -> None:
        self._run_seed = run_seed
        self._taken: Counter[tuple[Version, bytes]] = Counter()

    def peek(self, version: Version, content: str) -> int:
        """Give the seed of the next such request; it stays the next one until `take`."""
        occurrence = self._taken[self._key(version, content)]
        text = SEPARATOR.join((str(self._run_seed), str(version.step), str(occurrence), content))
        return int.from_bytes(blake3(text.encode()).digest(length=8))

    def take(self, version: Version, content: str) -> None:
        """Count a request that was accepted. One that was refused does not count: its client asks again."""
        self._taken[self._key(version, content)] += 1

    def _key(self, version: Version, content: str) -> tuple[Version, bytes]:
        return version, blake3(content.encode()).digest()
