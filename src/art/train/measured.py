"""What a training step reports about its loss tokens, added up over forward passes and optimiser steps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from torch import Tensor

from art.train.loss.terms import TokenTerms
from art.train.loss.vectors import Vectors


@dataclass
class Measured:
    """Sums over loss tokens."""

    total: float = 0.0
    """What the sums of weighted losses are divided by."""
    tokens: int = 0
    largest_ratio: float = 0.0
    _sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _norms: list[float] = field(default_factory=list)

    def add(self, terms: TokenTerms, vectors: Vectors, weight_N: Tensor) -> None:
        """Add a forward pass."""
        mask_N = vectors.mask_N
        self.tokens += int(mask_N.sum())
        self.largest_ratio = max(self.largest_ratio, (terms.ratio_N * mask_N).max().item())
        self._add("loss", terms.loss_N, weight_N)
        self._add("policy_loss", terms.policy_N, weight_N)
        for name, value_N in _per_token(terms, vectors).items():
            self._add(name, value_N, mask_N)

    def stepped(self, grad_norm: float) -> None:
        """Note that an optimiser step was taken on what was added."""
        self._norms.append(grad_norm)

    def metrics(self) -> dict[str, float]:
        """Give the means, nothing where nothing was measured."""
        if not self._norms:
            return {}
        losses = {name: self._sums[name] / self.total for name in ("loss", "policy_loss")}
        means = {name: value / self.tokens for name, value in self._sums.items() if name not in losses}
        return {
            **losses,
            **means,
            "ratio_max": self.largest_ratio,
            "grad_norm": sum(self._norms) / len(self._norms),
            "optimizer_steps": float(len(self._norms)),
        }

    def _add(self, name: str, value_N: Tensor, weight_N: Tensor) -> None:
        self._sums[name] += (value_N.detach() * weight_N).double().sum().item()


def _per_token(terms: TokenTerms, vectors: Vectors) -> dict[str, Tensor]:
    found = {
        "ratio": terms.ratio_N,
        "approx_kl": terms.approx_kl_N,
        "entropy": vectors.entropy_N,
        "clip_fraction": terms.clipped_N,
    }
    return found if terms.kl_N is None else {**found, "kl": terms.kl_N}
