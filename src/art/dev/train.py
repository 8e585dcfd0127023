"""The names that scripts import from `art.dev.train`."""

from art.dev import TrainConfig, TrainSFTConfig

__all__ = ["TrainConfig", "TrainSFTConfig"]
