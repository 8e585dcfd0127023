"""One forward pass over a micro-batch: the log-probability of every loss token, with gradient.

Knows any causal language model of transformers by its two halves, the decoder and what follows it. Knows no loss.
Axes as in `batch`, and U asked token (a query and a target), H hidden.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from art.adapter.attention import use_own_attention
from art.train.attention import PackedPass
from art.train.batch import MicroBatch
from art.train.head import AskedTokens, Head
from art.train.recompute import AsNow, LayerMemory
from art.train.room import usable_bytes


@dataclass(frozen=True)
class Scores:
    """What the model says about loss tokens, under the temperatures they were sampled at. Float32."""

    logp_N: Tensor
    entropy_N: Tensor
    """Of the distribution that the token was drawn from; without gradient unless it is asked for."""


class Scorer:
    """A causal language model as decoder and head, the head applied only where a loss token is predicted."""

    def __init__(self, model: PreTrainedModel, *, as_now: AsNow = nullcontext) -> None:
        use_own_attention(model)
        prefix = model.base_model_prefix
        self._decoder = cast(nn.Module, getattr(model, prefix))
        self._head = Head(model, prefix)
        self._device = model.device
        self.memory = LayerMemory(as_now=as_now)
        self.memory.watch(self._decoder)

    def score(self, batch: MicroBatch, *, entropy_gradient: bool = False, limit_bytes: int | None = None) -> Scores:
        """Give each loss token's log-probability and entropy.

        Layers keep `limit_bytes` for the backward pass, None for what is free now; it changes no number.
        """
        if torch.is_grad_enabled():
            self.memory.begin(usable_bytes(self._device) if limit_bytes is None else limit_bytes)
        # Rows with the same text ask for the same.
        pair_U, place_N = torch.unique(torch.stack([batch.query_N, batch.target_N]), dim=1, return_inverse=True)
        query_U, target_U = pair_U
        hidden_UH = self._hidden(batch).index_select(0, batch.query_Q[query_U])
        tokens = AskedTokens(
            temperature_U=batch.temperature_Q[query_U], target_U=target_U, entropy_gradient=entropy_gradient
        )
        logp_U, entropy_U = self._head.score(hidden_UH, tokens)
        return Scores(logp_U[place_N], entropy_U[place_N])

    def _hidden(self, batch: MicroBatch) -> Tensor:
        """Run the decoder over all tokens at once."""
        step = PackedPass(batch.families, device=batch.token_T.device)
        out = self._decoder(
            input_ids=batch.token_T[None], position_ids=batch.position_T[None], use_cache=False, art_pass=step
        )
        return out.last_hidden_state[0]
