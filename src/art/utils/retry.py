"""Where scripts import `retry` from."""

from art.rollouts import retry

__all__ = ["retry"]
