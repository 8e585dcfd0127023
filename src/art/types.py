"""The names that scripts import from `art.types`."""

from openai.types.chat import ChatCompletionMessageParam as Message
from openai.types.chat.chat_completion import Choice

from art.backend import TrainResult
from art.config import TrainConfig, TrainSFTConfig
from art.trajectories import MessageOrChoice, Messages, MessagesAndChoices, Tools

__all__ = [
    "Choice",
    "Message",
    "MessageOrChoice",
    "Messages",
    "MessagesAndChoices",
    "Tools",
    "TrainConfig",
    "TrainResult",
    "TrainSFTConfig",
]
