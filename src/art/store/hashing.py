"""BLAKE3 with as many threads as this process can use. Opens nothing."""

from __future__ import annotations

import os

from blake3 import blake3

_STARTED_IN = os.getpid()


def hasher() -> blake3:
    """Begin a digest."""
    # A forked child has none of the threads that the digests of its parent began, and would wait for them for ever.
    return blake3(max_threads=blake3.AUTO if os.getpid() == _STARTED_IN else 1)
