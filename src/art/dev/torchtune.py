"""The name that scripts import from `art.dev.torchtune`."""

from art.dev import TorchtuneArgs

__all__ = ["TorchtuneArgs"]
