"""One forward pass over a micro-batch: the log-probability of every loss token, with gradient.

Knows any causal language model of transformers by its two halves, the decoder and what follows it. Knows no loss.
Axes as in `batch`, and H hidden, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from art.adapter.attention import use_own_attention
from art.train.attention import PackedPass
from art.train.batch import MicroBatch

# Logits kept for the backward pass: 256 MiB in float32. Beyond it they are computed again, a piece at a time.
MAX_LOGITS = 2**26
LEAST_LOGP = -1e4


@dataclass(frozen=True)
class Scores:
    """What the model says about loss tokens, under the temperatures they were sampled at. Float32."""

    logp_N: Tensor
    entropy_N: Tensor
    """Of the distribution that the token was drawn from; without gradient unless it is asked for."""


class Scorer:
    """A causal language model as decoder and head, the head applied only where a loss token is predicted."""

    def __init__(self, model: PreTrainedModel) -> None:
        use_own_attention(model)
        prefix = model.base_model_prefix
        self._decoder = cast(nn.Module, getattr(model, prefix))
        self._head = _Head(model, prefix)
        self._vocabulary = cast(Tensor, model.get_input_embeddings().weight).shape[0]

    def score(self, batch: MicroBatch, *, entropy_gradient: bool = False) -> Scores:
        """Give each loss token's log-probability and entropy."""
        hidden_QH = self._hidden(batch).index_select(0, batch.query_Q)
        pieces = list(_pieces(batch, max(1, MAX_LOGITS // self._vocabulary)))
        again = len(pieces) > 1 and torch.is_grad_enabled()
        logps: list[Tensor] = []
        entropies: list[Tensor] = []
        for queries, tokens in pieces:
            arguments = (
                hidden_QH[queries],
                batch.temperature_Q[queries],
                batch.query_N[tokens] - queries.start,
                batch.target_N[tokens],
                entropy_gradient,
            )
            logp_N, entropy_N = (
                cast("tuple[Tensor, Tensor]", checkpoint(self._score_piece, *arguments, use_reentrant=False))
                if again
                else self._score_piece(*arguments)
            )
            logps.append(logp_N)
            entropies.append(entropy_N)
        return Scores(torch.cat(logps), torch.cat(entropies))

    def _score_piece(
        self, hidden_QH: Tensor, temperature_Q: Tensor, query_N: Tensor, target_N: Tensor, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        logits_QV = self._head(hidden_QH).float() / temperature_Q[:, None]
        normaliser_Q = logits_QV.logsumexp(-1)
        logp_N = logits_QV[query_N, target_N] - normaliser_Q[query_N]
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            # Bounded, so that a token without any probability adds 0, and no NaN to the gradient.
            logp_QV = (logits_QV - normaliser_Q[:, None]).clamp(min=LEAST_LOGP)
            entropy_Q = -(logp_QV.exp() * logp_QV).sum(-1)
        return logp_N, entropy_Q[query_N]

    def _hidden(self, batch: MicroBatch) -> Tensor:
        """Run the decoder over all tokens at once."""
        step = PackedPass(batch.families, device=batch.token_T.device)
        out = self._decoder(
            input_ids=batch.token_T[None], position_ids=batch.position_T[None], use_cache=False, art_pass=step
        )
        return out.last_hidden_state[0]


class _Head:
    """Everything a causal model does after its decoder: output layer, soft caps, scales.

    It runs the model's own forward with a decoder that returns what it is given, so that no family needs a case.
    """

    def __init__(self, model: PreTrainedModel, prefix: str) -> None:
        self._given = _Given()
        self._model = copy.copy(model)
        self._model.__dict__["_modules"] = {**dict(model.named_children()), prefix: self._given}

    def __call__(self, hidden_QH: Tensor) -> Tensor:
        self._given.hidden_1QH = hidden_QH[None]
        logits_1QV = self._model(input_ids=None, use_cache=False).logits
        self._given.hidden_1QH = None
        return logits_1QV[0]


class _Given(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_1QH: Tensor | None = None

    @property
    def decoder(self) -> _Given:
        """The same again: OPT has a decoder inside its decoder."""
        return self

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPast:
        return _GivenOutput(last_hidden_state=cast(Any, self.hidden_1QH))


class _GivenOutput(BaseModelOutputWithPast):
    def __getattr__(self, name: str) -> None:
        """Have None for what some heads pass on from their decoders: router logits, cross attentions."""
        if name.startswith("__"):
            raise AttributeError(name)


def _pieces(batch: MicroBatch, queries_per_piece: int) -> Iterator[tuple[slice, slice]]:
    """Cut the queries into runs, each with the run of loss tokens that ask for them."""
    count = len(batch.query_Q)
    starts = range(0, count, queries_per_piece)
    ends = [min(start + queries_per_piece, count) for start in starts]
    edges = torch.tensor(ends, device=batch.query_N.device)
    token_ends = torch.searchsorted(batch.query_N, edges).tolist()
    token_start = 0
    for start, end, token_end in zip(starts, ends, token_ends, strict=True):
        yield slice(start, end), slice(token_start, token_end)
        token_start = token_end
