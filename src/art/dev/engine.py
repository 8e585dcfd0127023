"""The name that scripts import from `art.dev.engine`."""

from art.dev import EngineArgs

__all__ = ["EngineArgs"]
