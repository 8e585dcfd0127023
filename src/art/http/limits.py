"""What one client may take of the server. Knows numbers only."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep one client from harming the others; sizes in bytes, times in seconds."""

    body_bytes: int = 4 * MIB
    """Of one request."""
    bodies_bytes: int = 64 * MIB
    """Of all requests that are being read or prepared."""
    header_s: float = 10.0
    """From the first byte of a request, or from the connection, to the end of its header."""
    body_s: float = 30.0
    """From the end of the header to the end of the body."""
    stall_s: float = 30.0
    """How long a client may leave its answer unread."""
    keep_alive_s: float = 60.0
    resting: int = 512
    """Connections without a whole request; beyond, the oldest is closed."""
