"""The names that scripts import from `art.dev.openai_server`."""

from art.absent import instead_in
from art.dev import OpenAIServerConfig, ServerArgs

__all__ = ["OpenAIServerConfig", "ServerArgs"]

__getattr__ = instead_in(__name__)
