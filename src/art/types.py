"""The names that scripts import from `art.types`."""

from art.config import TrainConfig
from art.trajectories import Messages, MessagesAndChoices, Tools

__all__ = ["Messages", "MessagesAndChoices", "Tools", "TrainConfig"]
