"""A base model from the Hub's cache or a folder, ready to be shared."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from art.adapter import four_bits
from art.errors import ConfigurationError, ModelNotFoundError
from art.format.json import shown
from art.format.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS

MOST_SHOWN = 500
"""Characters of what transformers says, which repeats a name as long as it is."""


def load_base(
    base_model: str, *, device: torch.device, dtype: torch.dtype | Literal["auto"], in_4bit: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a causal language model and its tokenizer, ready to be shared.

    With `dtype="auto"` the weights stay as they were saved; `in_4bit` holds its layers in 4 bits. Raises
    `ModelNotFoundError`, and `ConfigurationError` for weights in a form that is not implemented.
    """
    try:
        _refuse_adapter(base_model)
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(base_model)
            config = AutoConfig.from_pretrained(base_model)
            told = four_bits.loading(base_model, config, device=device, dtype=dtype, in_4bit=in_4bit)
            module: Any = AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype, **told)
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:MOST_SHOWN].rstrip(".")
        raise ModelNotFoundError(
            f"The base model {shown(base_model)} cannot be loaded: {reason}. Give the id of a repository on the "
            "Hugging Face Hub (after `hf auth login`, where it is private or gated), or a folder that holds a causal "
            "language model."
        ) from error
    if not told:
        module = module.to(device)
    four_bits.settle(module)
    return module.eval().requires_grad_(False), tokenizer


def _refuse_adapter(base_model: str) -> None:
    """Raise `ModelNotFoundError` for the folder of an adapter, which scripts of ART give as a base."""
    folder = Path(base_model)
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / "config.json").exists():
        return
    raise ModelNotFoundError(
        f"{shown(base_model)} is no base model but an adapter. Give the base that it belongs to as base_model, and "
        f"copy {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} into <root>/<project>/models/<name>/checkpoints/0000: training "
        "goes on from there."
    )


@contextmanager
def quiet() -> Generator[None]:
    """Leave the terminal to the script: transformers draws a bar for whatever it loads or saves."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()
