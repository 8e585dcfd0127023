"""The names that scripts import from `art.types`."""

from typing import Any, Literal, TypeAlias

from openai.types.chat import ChatCompletionMessageParam as Message
from openai.types.chat.chat_completion import Choice

from art.absent import missing
from art.backend import TrainResult
from art.config import TrainConfig, TrainSFTConfig
from art.trajectories import MessageOrChoice, Messages, MessagesAndChoices, Tools

LocalTrainResult = TrainResult
"""ART's name of what a local training step gives."""
Verbosity: TypeAlias = Literal[0, 1, 2]

__all__ = [
    "Choice",
    "LocalTrainResult",
    "Message",
    "MessageOrChoice",
    "Messages",
    "MessagesAndChoices",
    "Tools",
    "TrainConfig",
    "TrainResult",
    "TrainSFTConfig",
    "Verbosity",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
