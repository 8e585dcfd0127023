"""A base model from the Hub's cache or a folder, ready to be shared."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from art.errors import ModelNotFoundError


def load_base(
    base_model: str, *, device: torch.device, dtype: torch.dtype | Literal["auto"]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a causal language model and its tokenizer, ready to be shared; raises `ModelNotFoundError`.

    With `dtype="auto"` the weights stay as they were saved.
    """
    try:
        with _quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(base_model)
            module: Any = AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"The base model {base_model!r} cannot be loaded: {str(error).splitlines()[0]} "
            "Give a Hugging Face repository id that is in reach, or a folder that holds a causal language model."
        ) from error
    return module.to(device).eval().requires_grad_(False), tokenizer


@contextmanager
def _quiet() -> Generator[None]:
    """Leave the terminal to the script: transformers draws a bar for every load."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()
