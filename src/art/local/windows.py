"""Whether the layers of a model say to our passes how many tokens they see, or leave it to a mask of their own.

The conversations that a model is tried with are shorter than any window, so its numbers alone would not tell.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import Rules, causal, use_own_attention

NARROW = 3
"""Tokens of the window that is tried: less than any conversation has."""


@torch.no_grad()
def hides_a_window(base: PreTrainedModel, token_ids: Sequence[int]) -> bool:
    """Say whether a layer that is said to see a window does not name it, and the model's own numbers change with it."""
    config = base.config.get_text_config(decoder=True)
    longest = getattr(config, "max_position_embeddings", None) or sys.maxsize
    # A window as long as any text hides nothing.
    if not 0 < (getattr(config, "sliding_window", None) or 0) < longest:
        return False
    kinds = getattr(config, "layer_types", None)
    seen = _windows(base, token_ids)
    unnamed = [layer for layer in seen if seen[layer] is None and (not kinds or kinds[layer] == "sliding_attention")]
    if not unnamed:
        return False
    ids = torch.tensor([token_ids], device=base.device)
    whole = base(input_ids=ids, use_cache=False).logits
    with _narrowed(base):
        narrow = base(input_ids=ids, use_cache=False).logits
    return not torch.equal(whole, narrow)


def _windows(base: PreTrainedModel, token_ids: Sequence[int]) -> dict[int, int | None]:
    """Give the window that each layer names."""
    model, step = AdaptedModel(base).model, _Listening()
    use_own_attention(model)
    ids = torch.tensor([token_ids], device=model.device)
    model(
        input_ids=ids,
        position_ids=torch.arange(len(token_ids), device=model.device)[None],
        use_cache=False,
        art_pass=step,
    )
    return step.windows


class _Listening:
    """A pass over one conversation that keeps what the layers say."""

    def __init__(self) -> None:
        self.windows: dict[int, int | None] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        self.windows[layer] = rules.window
        return causal(query, key, value, rules)


@contextmanager
def _narrowed(base: PreTrainedModel) -> Generator[None]:
    """Let the model make its masks for a window of a few tokens."""
    config = base.config.get_text_config(decoder=True)
    window, config.sliding_window = config.sliding_window, NARROW
    try:
        yield
    finally:
        config.sliding_window = window
