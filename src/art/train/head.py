"""From hidden states to log-probabilities, a piece of the vocabulary's logits at a time, and the gradient with them.

What a token's log-probability changes with each hidden value is computed beside it, so that nothing as large as the
vocabulary waits for the backward pass. Knows what follows the decoder; knows no batch and no loss. Axes: U asked token
(a query and a target), H hidden, V vocabulary.
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

# Logits that are there at once: 64 MiB in float32, some three times over.
MAX_LOGITS = 2**24
LEAST_LOGP = -1e4


@dataclass(frozen=True, kw_only=True)
class AskedTokens:
    """The tokens whose log-probabilities are asked for."""

    temperature_U: Tensor
    target_U: Tensor
    entropy_gradient: bool

    def piece(self, at: slice) -> AskedTokens:
        """Give a run of them."""
        return AskedTokens(
            temperature_U=self.temperature_U[at],
            target_U=self.target_U[at],
            entropy_gradient=self.entropy_gradient,
        )


class Head:
    """Everything a causal model does after its decoder: output layer, soft caps, scales.

    It runs the model's own forward with a decoder that returns what it is given, so that no family needs a case.
    """

    def __init__(self, model: PreTrainedModel, prefix: str) -> None:
        self._given = _Given()
        self._model = copy.copy(model)
        self._model.__dict__["_modules"] = {**dict(model.named_children()), prefix: self._given}
        self._vocabulary = cast(Tensor, model.get_input_embeddings().weight).shape[0]
        self._is_trained: bool | None = None

    def score(self, hidden_UH: Tensor, tokens: AskedTokens) -> tuple[Tensor, Tensor]:
        """Give each token's log-probability and the entropy of its distribution, float32."""
        if torch.is_grad_enabled() and self._trains(hidden_UH):
            return self._scored_again(hidden_UH, tokens)
        if torch.is_grad_enabled() and hidden_UH.requires_grad:
            return cast("tuple[Tensor, Tensor]", _Scored.apply(hidden_UH, self, tokens))
        logp_U, entropy_U, _, _ = self.in_pieces(hidden_UH, tokens, with_gradient=False)
        return logp_U, entropy_U

    def logits(self, hidden_UH: Tensor) -> Tensor:
        """Give what the model says about each token of the vocabulary, in its own precision."""
        self._given.hidden_1UH = hidden_UH[None]
        # The decoder looks at neither, but some heads ask how many tokens there are.
        logits_1UV = self._model(inputs_embeds=self._given.hidden_1UH, use_cache=False).logits
        self._given.hidden_1UH = None
        return logits_1UV[0]

    def in_pieces(
        self, hidden_UH: Tensor, tokens: AskedTokens, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Give log-probabilities and entropies, and what each changes with the hidden values, if that is asked for."""
        pieces = [
            self._piece(hidden_UH[at], tokens.piece(at), with_gradient=with_gradient) for at in self._pieces(hidden_UH)
        ]
        logps, entropies, slopes, entropy_slopes = zip(*pieces, strict=True)
        return torch.cat(logps), torch.cat(entropies), _joined(slopes), _joined(entropy_slopes)

    def _piece(
        self, hidden_UH: Tensor, tokens: AskedTokens, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        with torch.set_grad_enabled(with_gradient):
            hidden_UH = hidden_UH.detach().requires_grad_(with_gradient)
            logits_UV = self.logits(hidden_UH)
        temperature_U1 = tokens.temperature_U[:, None]
        logp_UV = (logits_UV.detach().float() / temperature_U1).log_softmax(-1)
        logp_U = logp_UV.gather(-1, tokens.target_U[:, None])[:, 0]
        p_UV = logp_UV.exp()
        # Bounded, so that a token without any probability adds 0, and no NaN.
        logp_UV.clamp_(min=LEAST_LOGP)
        entropy_U = -torch.linalg.vecdot(p_UV, logp_UV)
        if not with_gradient:
            return logp_U, entropy_U, None, None
        entropy_slope_UH = None
        if tokens.entropy_gradient:
            slope_UV = logp_UV.add_(entropy_U[:, None]).mul_(p_UV).neg_().div_(temperature_U1)
            entropy_slope_UH = _slope(logits_UV, hidden_UH, slope_UV, retain_graph=True)
        del logp_UV
        slope_UV = p_UV.neg_()
        slope_UV[torch.arange(len(logp_U), device=logp_U.device), tokens.target_U] += 1
        slope_UV.div_(temperature_U1)
        return logp_U, entropy_U, _slope(logits_UV, hidden_UH, slope_UV), entropy_slope_UH

    def _scored_again(self, hidden_UH: Tensor, tokens: AskedTokens) -> tuple[Tensor, Tensor]:
        """Give the same with a gradient to the output layer as well: the logits are computed a second time for it."""
        pieces = [
            cast(
                "tuple[Tensor, Tensor]",
                checkpoint(self.plain, hidden_UH[at], tokens.piece(at), use_reentrant=False),
            )
            for at in self._pieces(hidden_UH)
        ]
        logps, entropies = zip(*pieces, strict=True)
        return torch.cat(logps), torch.cat(entropies)

    def plain(self, hidden_UH: Tensor, tokens: AskedTokens) -> tuple[Tensor, Tensor]:
        """Give the same in one piece and leave the gradient to autograd."""
        logp_UV = (self.logits(hidden_UH).float() / tokens.temperature_U[:, None]).log_softmax(-1)
        logp_U = logp_UV.gather(-1, tokens.target_U[:, None])[:, 0]
        with torch.set_grad_enabled(tokens.entropy_gradient and torch.is_grad_enabled()):
            bounded_UV = logp_UV.clamp(min=LEAST_LOGP)
            entropy_U = -(bounded_UV.exp() * bounded_UV).sum(-1)
        return logp_U, entropy_U

    def _trains(self, hidden_UH: Tensor) -> bool:
        if self._is_trained is None:
            self._is_trained = self.logits(hidden_UH[:1].detach()).requires_grad
        return self._is_trained

    def _pieces(self, hidden_UH: Tensor) -> Iterator[slice]:
        size = max(1, MAX_LOGITS // self._vocabulary)
        for start in range(0, len(hidden_UH), size):
            yield slice(start, start + size)


class _Scored(torch.autograd.Function):
    """Scores, and the gradient that was found with them."""

    @staticmethod
    def forward(ctx: Any, hidden_UH: Tensor, head: Head, tokens: AskedTokens) -> tuple[Tensor, Tensor]:
        logp_U, entropy_U, slope_UH, entropy_slope_UH = head.in_pieces(hidden_UH, tokens, with_gradient=True)
        ctx.save_for_backward(slope_UH, *([] if entropy_slope_UH is None else [entropy_slope_UH]))
        if not tokens.entropy_gradient:
            ctx.mark_non_differentiable(entropy_U)
        return logp_U, entropy_U

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        [slope_UH, *entropy_slope_UH] = ctx.saved_tensors
        gradient_UH = slope_UH * gradients[0][:, None]
        if entropy_slope_UH:
            gradient_UH = gradient_UH + entropy_slope_UH[0] * gradients[1][:, None]
        return gradient_UH.to(slope_UH.dtype), None, None


def _slope(logits_UV: Tensor, hidden_UH: Tensor, slope_UV: Tensor, *, retain_graph: bool = False) -> Tensor:
    [slope_UH] = torch.autograd.grad(logits_UV, hidden_UH, slope_UV.to(logits_UV.dtype), retain_graph=retain_graph)
    return slope_UH


def _joined(slopes: tuple[Tensor | None, ...]) -> Tensor | None:
    parts = [slope for slope in slopes if slope is not None]
    return torch.cat(parts) if parts else None


class _Given(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_1UH: Tensor | None = None

    @property
    def decoder(self) -> _Given:
        """The same again: OPT has a decoder inside its decoder."""
        return self

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPast:
        return _GivenOutput(last_hidden_state=cast(Any, self.hidden_1UH))


class _GivenOutput(BaseModelOutputWithPast):
    def __getattr__(self, name: str) -> None:
        """Have None for what some heads pass on from their decoders: router logits, cross attentions."""
        if name.startswith("__"):
            raise AttributeError(name)
