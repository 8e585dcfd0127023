"""What a sampler is made over: a base model in memory, and the bounds that the backend was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


NewSampler = Callable[[LoadedBase], Sampler]
"""Makes a sampler over a base model; the backend closes it."""
