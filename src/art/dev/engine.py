"""The name that scripts import from `art.dev.engine`."""

from art.absent import instead_in
from art.dev import EngineArgs

__all__ = ["EngineArgs"]

__getattr__ = instead_in(__name__)
