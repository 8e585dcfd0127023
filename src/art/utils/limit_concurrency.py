"""Where scripts import `limit_concurrency` from."""

from art.rollouts import limit_concurrency

__all__ = ["limit_concurrency"]
