"""The name that scripts import from `art.dev.torchtune`."""

from art.absent import instead_in
from art.dev import TorchtuneArgs

__all__ = ["TorchtuneArgs"]

__getattr__ = instead_in(__name__)
