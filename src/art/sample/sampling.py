"""From logits to a token and its log-probability.

Knows tensors and a request's sampling values; neither the model nor what is batched. Each row draws with a number of
its own, which depends on its seed, its choice and its position only, so no row's draw depends on another's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from blake3 import blake3

from art.sample.shaping import NewShaper, Shaper, ShapersInTurn

UNIFORM_BITS = 53
GREEDY_BELOW = 1e-5
"""Smaller temperatures mean the likeliest token: dividing by them multiplies what float32 rounds, and may overflow."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the tokens of a request are chosen."""

    max_tokens: int
    temperature: float = 1.0
    """Below `GREEDY_BELOW`, 0 included, the likeliest token is taken."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all."""
    min_p: float = 0.0
    """Leaves out tokens that are less likely than this share of the likeliest one."""
    shapers: tuple[NewShaper, ...] = ()
    """What changes the logits that are drawn from, in this order."""
    seed: int | None = None
    """With a seed, a choice's tokens and log-probabilities repeat bit for bit, whatever else is being sampled."""
    top_logprobs: int = 0
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end a choice; they count as its last token."""

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def divisor(self) -> float:
        """What the logits are divided by."""
        return 1.0 if self.is_greedy else self.temperature

    @property
    def is_truncated(self) -> bool:
        return bool(self.top_k) or self.top_p < 1 or self.min_p > 0

    def begin_shaping(self, prompt_ids: Sequence[int]) -> Shaper | None:
        """Begin to shape a choice; None where nothing is to be changed."""
        return ShapersInTurn([begin(prompt_ids) for begin in self.shapers]) if self.shapers else None


@dataclass(frozen=True)
class Draw:
    """One row's values for the next token."""

    sampling: Sampling
    uniform: float
    shaper: Shaper | None = None

    @property
    def problem(self) -> str | None:
        """Why no token can be drawn, where that does not lie in the logits."""
        return self.shaper.problem if self.shaper else None


@dataclass(frozen=True)
class Drawn:
    """A token, and what the model thought of it."""

    token_id: int
    logprob: float
    """Under the temperature, before top_p and top_k cut; at temperature 0, under temperature 1."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log-probabilities, best first."""


def uniform(seed: int, *, choice: int, position: int) -> float:
    """Give the number in [0, 1) that this seed means for the token at this position of this choice."""
    digest = blake3(f"{seed}/{choice}/{position}".encode()).digest(length=8)
    return (int.from_bytes(digest) >> (64 - UNIFORM_BITS)) / (1 << UNIFORM_BITS)


def draw(logits_BV: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn | None]:
    """Choose a token for each row of the float32 logits; None where a row's numbers are not finite.

    Shapers change what a token is drawn from, and see what was drawn; its log-probability is that without them.
    """
    logp_BV = _log_softmax(logits_BV, draws)
    shaped_BV = _shape(logits_BV, draws)
    drawn_from_BV = logp_BV if shaped_BV is logits_BV else _log_softmax(shaped_BV, draws)
    token_B = _choose(drawn_from_BV, draws)
    logp_B, sound_B = (each.gather(-1, token_B[:, None])[:, 0].tolist() for each in (logp_BV, drawn_from_BV))
    tops = _tops(logp_BV, draws)
    drawn: list[Drawn | None] = []
    for row, (token, each) in enumerate(zip(token_B.tolist(), draws, strict=True)):
        is_finite = math.isfinite(logp_B[row]) and math.isfinite(sound_B[row])
        drawn.append(Drawn(token, logp_B[row], tops[row]) if is_finite else None)
        if is_finite and each.shaper:
            each.shaper.take(token)
    return drawn


def _log_softmax(logits_BV: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    divisors = [each.sampling.divisor for each in draws]
    if any(divisor != 1.0 for divisor in divisors):
        logits_BV = logits_BV / torch.tensor(divisors, device=logits_BV.device)[:, None]
    return torch.log_softmax(logits_BV, dim=-1)


def _shape(logits_BV: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Shape the rows that ask for it; the same tensor where none does."""
    shapers = [each.shaper for each in draws]
    if not any(shapers):
        return logits_BV
    return torch.stack([each.shape(row_V) if each else row_V for row_V, each in zip(logits_BV, shapers, strict=True)])


def _choose(logp_BV: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Invert the cumulative distribution at each row's uniform number."""
    if all(each.sampling.is_greedy for each in draws):
        return logp_BV.argmax(-1)
    weight_BV = _truncated(logp_BV.exp(), draws)
    cumulative_BV = weight_BV.cumsum(-1)
    total_B1 = cumulative_BV[:, -1:].contiguous()
    uniform_B1 = torch.tensor([each.uniform for each in draws], dtype=torch.float64, device=logp_BV.device)[:, None]
    target_B1 = (uniform_B1 * total_B1).to(total_B1.dtype)
    # Rounding may lift the target to the total, past every token: then the last one that has any weight.
    last_B1 = torch.searchsorted(cumulative_BV, total_B1)
    token_B = torch.minimum(torch.searchsorted(cumulative_BV, target_B1, right=True), last_B1)[:, 0]
    token_B = token_B.clamp(max=logp_BV.shape[-1] - 1)
    greedy = [each.sampling.is_greedy for each in draws]
    if not any(greedy):
        return token_B
    return torch.where(torch.tensor(greedy, device=logp_BV.device), logp_BV.argmax(-1), token_B)


def _truncated(weight_BV: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Keep the top_k likeliest tokens, of those the fewest whose share reaches top_p, and none below min_p.

    Rows that keep equally many are cut together, without asking the device about any.
    """
    vocabulary = weight_BV.shape[-1]
    alike: dict[int, list[int]] = {}
    for row, each in enumerate(draws):
        if not each.sampling.is_greedy and each.sampling.is_truncated:
            # Its own number alone: which of two equal tokens comes first must not depend on other rows.
            alike.setdefault(min(each.sampling.top_k or vocabulary, vocabulary), []).append(row)
    for count, rows in alike.items():
        row_R = torch.tensor(rows, device=weight_BV.device)
        bounds = [(draws[row].sampling.top_p, draws[row].sampling.min_p) for row in rows]
        bound_R2 = torch.tensor(bounds, dtype=weight_BV.dtype, device=weight_BV.device)
        best = weight_BV[row_R].topk(count)
        weight_RK, share_RK = best.values, best.values.cumsum(-1)
        in_share_RK = (share_RK - weight_RK) < bound_R2[:, :1] * share_RK[:, -1:]
        kept_RK = in_share_RK & (weight_RK >= bound_R2[:, 1:] * weight_RK[:, :1])
        cut_RV = torch.zeros(len(rows), vocabulary, dtype=weight_BV.dtype, device=weight_BV.device)
        weight_BV[row_R] = cut_RV.scatter_(1, best.indices, weight_RK * kept_RK)
    return weight_BV


def _tops(logp_BV: torch.Tensor, draws: Sequence[Draw]) -> list[tuple[tuple[int, float], ...]]:
    """Give each row's likeliest tokens, as many as it asks for; those that ask for equally many at once."""
    alike: dict[int, list[int]] = {}
    for row, each in enumerate(draws):
        if each.sampling.top_logprobs:
            alike.setdefault(min(each.sampling.top_logprobs, logp_BV.shape[-1]), []).append(row)
    tops: list[tuple[tuple[int, float], ...]] = [()] * len(draws)
    for count, rows in alike.items():
        best = logp_BV[torch.tensor(rows, device=logp_BV.device)].topk(count)
        for row, ids, values in zip(rows, best.indices.tolist(), best.values.tolist(), strict=True):
            tops[row] = tuple(zip(ids, values, strict=True))
    return tops
