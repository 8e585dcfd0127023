"""The names that scripts import from `art.dev.openai_server`."""

from art.dev import OpenAIServerConfig, ServerArgs

__all__ = ["OpenAIServerConfig", "ServerArgs"]
