"""What a sampler is made over: a base model in memory, and the bounds that the backend was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.sample.sampler import Sampler


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base model, as training shares it: whoever samples from it must leave it as it is."""

    id: str
    """What the user calls it: a name on the Hub, or a folder."""
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_rows: int = 64
    """How many answers are sampled at once."""
    max_cache_bytes: int | None = None
    """What keys and values may take; None is no bound."""


def stop_ids_of(module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Give the tokens that end an answer according to a model and its tokenizer."""
    sources = (module.generation_config, module.config.get_text_config(), tokenizer)
    named: list[Any] = [getattr(source, "eos_token_id", None) for source in sources]
    ids = [each for one in named for each in (one if isinstance(one, list) else [one])]
    return frozenset(each for each in ids if isinstance(each, int))


NewSampler = Callable[[LoadedBase], Sampler]
"""Makes a sampler over a base model; the backend closes it."""
