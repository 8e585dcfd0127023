"""Which versions are served, and which still have requests: an adapter may go when its last one has ended.

Thread-safe. Knows versions; not where they lie.
"""

from __future__ import annotations

import threading
from collections import Counter

from art.errors import NotFoundError
from art.sample.version import Version


class ServedVersions:
    """Versions by whether new requests may name them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._served: set[Version] = set()
        self._running: Counter[Version] = Counter()

    def add(self, version: Version) -> None:
        with self._lock:
            self._served.add(version)

    def retire(self, version: Version) -> bool:
        """Take no new requests for it; gives whether its adapter may go now."""
        with self._lock:
            was_served = version in self._served
            self._served.discard(version)
            return was_served and not self._running[version]

    def require(self, version: Version) -> None:
        """Raise `NotFoundError` for a version that new requests may not name."""
        with self._lock:
            self._require(version)

    def begin(self, version: Version, count: int) -> None:
        """Count a request's choices; raises as `require` does."""
        with self._lock:
            self._require(version)
            self._running[version] += count

    def end(self, version: Version) -> bool:
        """Count a choice that has ended; gives whether the version's adapter may go now."""
        with self._lock:
            self._running[version] -= 1
            if self._running[version]:
                return False
            del self._running[version]
            return version not in self._served

    def _require(self, version: Version) -> None:
        if version not in self._served:
            names = ", ".join(sorted(map(str, self._served))) or "none"
            raise NotFoundError(f"No version {version} is served; there are {names}.")
