"""The names that scripts import from `art.yield_trajectory`, which is called too."""

from art.absent import instead_in
from art.callable import make_callable
from art.capture import capture_yielded_trajectory, yield_trajectory

__all__ = ["capture_yielded_trajectory", "yield_trajectory"]

make_callable(__name__)

__getattr__ = instead_in(__name__)
