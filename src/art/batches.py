"""The names that scripts import from `art.batches`."""

from art.gather import trajectory_group_batches

__all__ = ["trajectory_group_batches"]
