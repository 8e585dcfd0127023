"""LiteLLM's answers as OpenAI's, so that training finds what was sampled. Imports nothing of LiteLLM."""

from __future__ import annotations

from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel, ValidationError

from art.errors import TrainingDataError


def convert_litellm_choice_to_openai(litellm_choice: BaseModel) -> Choice:
    """Give OpenAI's choice with the same message, log-probabilities and token ids; raises `TrainingDataError`."""
    try:
        return Choice.model_validate(litellm_choice.model_dump(warnings=False))
    except ValidationError as error:
        raise TrainingDataError(f"{litellm_choice!r} is not a choice of a chat completion: {error}") from error
