"""Everything on this machine: the place where checkpoints, training and inference meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art.local.backend import LocalBackend

__all__ = ["LocalBackend"]


def __getattr__(name: str) -> Any:
    if name == "LocalBackend":
        from art.local.backend import LocalBackend

        return LocalBackend
    raise AttributeError(f"module 'art.local' has no attribute {name!r}")
