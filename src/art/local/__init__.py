"""Everything on this machine: the place where checkpoints, training and inference meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art.local.backend import LocalBackend
    from art.sample.vllm.factory import VLLM

__all__ = ["VLLM", "LocalBackend"]


def __getattr__(name: str) -> Any:
    if name == "LocalBackend":
        from art.local.backend import LocalBackend

        return LocalBackend
    if name == "VLLM":
        from art.sample.vllm.factory import VLLM

        return VLLM
    raise AttributeError(f"module 'art.local' has no attribute {name!r}")
