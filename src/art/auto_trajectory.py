"""The names that scripts import from `art.auto_trajectory`, which is called too."""

from art.absent import instead_in
from art.callable import make_callable
from art.capture import auto_trajectory, capture_auto_trajectory, current_trajectory, trajectory

__all__ = ["auto_trajectory", "capture_auto_trajectory", "current_trajectory", "trajectory"]

make_callable(__name__)

__getattr__ = instead_in(__name__)
