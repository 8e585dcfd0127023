"""What a request changes about the next token's logits before one is drawn: penalties, biases, a grammar.

Knows one row's logits and tokens. The log-probability that is reported stays that of the model itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class Shaper(Protocol):
    """Shapes the logits of one choice, token by token. Where it cannot go on, none of them is a number."""

    @property
    def problem(self) -> str | None:
        """Why it cannot go on."""
        ...

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor: ...
    def take(self, token_id: int) -> None: ...


NewShaper = Callable[[Sequence[int]], Shaper]
"""Begins to shape a choice after the prompt's tokens."""


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """How what was said already, and some tokens in any case, become likelier or less likely."""

    presence: float = 0.0
    """Subtracted once from every token that was sampled."""
    frequency: float = 0.0
    """Subtracted for each time that a token was sampled."""
    repetition: float = 1.0
    """Divides the positive logits of tokens in prompt and answer, and multiplies their negative ones."""
    bias: tuple[tuple[int, float], ...] = ()
    """Added to these tokens."""

    def begin(self, prompt_ids: Sequence[int]) -> Shaper:
        return _Penalising(self, prompt_ids)


class _Penalising:
    def __init__(self, penalties: Penalties, prompt_ids: Sequence[int]) -> None:
        self._penalties = penalties
        self._prompt = set(prompt_ids) if penalties.repetition != 1.0 else set[int]()
        self._sampled: Counter[int] = Counter()

    problem = None

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor:
        shaped_V = logits_V.clone()
        if self._penalties.repetition != 1.0 and (seen := sorted(self._prompt | self._sampled.keys())):
            old_S, factor = shaped_V[seen], self._penalties.repetition
            shaped_V[seen] = torch.where(old_S > 0, old_S / factor, old_S * factor)
        if self._sampled:
            counts_S = torch.tensor(list(self._sampled.values()), dtype=shaped_V.dtype, device=shaped_V.device)
            shaped_V[list(self._sampled)] -= self._penalties.frequency * counts_S + self._penalties.presence
        for token_id, bias in self._penalties.bias:
            # A tokenizer may know more tokens than its model, which samples none of those.
            if token_id < len(shaped_V):
                shaped_V[token_id] += bias
        return shaped_V

    def take(self, token_id: int) -> None:
        self._sampled[token_id] += 1


class ShapersInTurn:
    """Several shapers, one after the other."""

    def __init__(self, shapers: Sequence[Shaper]) -> None:
        self._shapers = shapers

    @property
    def problem(self) -> str | None:
        return next((shaper.problem for shaper in self._shapers if shaper.problem), None)

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor:
        for shaper in self._shapers:
            logits_V = shaper.shape(logits_V)
        return logits_V

    def take(self, token_id: int) -> None:
        for shaper in self._shapers:
            shaper.take(token_id)
