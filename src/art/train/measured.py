"""What a training step reports about its loss tokens, added up over forward passes and optimiser steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from art.errors import TrainingDataError
from art.train.loss.ratio import sequence_mean
from art.train.loss.terms import TokenTerms
from art.train.loss.vectors import Vectors

STRAY = 5
"""A row whose difference is so many times the bound was read in another context; less may be the rounding of a few
tokens."""


@dataclass(kw_only=True)
class Measured:
    """Sums over loss tokens."""

    total: float = 0.0
    """What the sums of weighted losses are divided by."""
    tokens: int = 0
    largest_ratio: float = 0.0
    compared: int = 0
    """Tokens on which trainer and sampler should agree."""
    rows: int = 0
    """Rows with such tokens."""
    strays: int = 0
    """Those of them that are left out, because trainer and sampler are far apart."""
    _difference: float = 0.0
    _of_strays: float = 0.0
    _stray_tokens: int = 0
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

    def numbers(self) -> list[float]:
        """Give what one forward pass added, for another process to absorb; the names are those of any pass."""
        counts = map(float, (self.tokens, self.compared, self.rows, self.strays, self._stray_tokens))
        return [*counts, self.largest_ratio, self._difference, self._of_strays, *self._sums.values()]

    def absorb(self, numbers: Sequence[float], names_of: Measured) -> None:
        """Add the numbers of a forward pass, named as those of `names_of` are."""
        tokens, compared, rows, strays, stray_tokens, largest_ratio, difference, of_strays, *sums = numbers
        self.tokens += int(tokens)
        self.compared += int(compared)
        self.rows += int(rows)
        self.strays += int(strays)
        self._stray_tokens += int(stray_tokens)
        self.largest_ratio = max(self.largest_ratio, largest_ratio)
        self._difference += difference
        self._of_strays += of_strays
        for name, value in zip(names_of._sums, sums, strict=True):
            self._sums[name] += value

    def compare(self, vectors: Vectors, comparable_N: Tensor, *, most: float | None) -> Vectors:
        """Add by how much trainer and sampler differ where they should agree; give the vectors without stray rows.

        A row is never divided, so that its micro-batch knows all of it.
        """
        difference_N = (vectors.logp_N - vectors.sampler_logp_N).detach().abs() * comparable_N
        self._difference += difference_N.double().sum().item()
        self.compared += int(comparable_N.sum())
        if most is None:
            return vectors
        stray_N = sequence_mean(difference_N, replace(vectors, mask_N=comparable_N)) > STRAY * most
        self.rows += len(vectors.sequence_N[comparable_N].unique())
        self.strays += len(vectors.sequence_N[stray_N].unique())
        self._of_strays += (difference_N * stray_N).double().sum().item()
        self._stray_tokens += int((comparable_N & stray_N).sum())
        return replace(vectors, mask_N=vectors.mask_N & ~stray_N) if stray_N.any() else vectors

    def check_agreement(self, most: float | None, *, strict: bool) -> None:
        """Raise `TrainingDataError` where the first optimiser step shows that the trainer saw another context.

        Some stray rows are left out, unless that is `strict`; where most rows stray, or the others differ, it raises.
        """
        leaves_out = not strict and 2 * self.strays <= self.rows
        difference, tokens = self._difference, self.compared
        if leaves_out:
            difference, tokens = difference - self._of_strays, tokens - self._stray_tokens
        mean = difference / tokens if tokens else 0.0
        if most is None or (mean <= most and (leaves_out or not self.strays)):
            return
        if mean <= most:  # the others hide what is strictly refused
            mean, tokens = self._of_strays / self._stray_tokens, self._stray_tokens
        raise TrainingDataError(
            f"Before the first optimiser step the trainer and the sampler differ by {mean:.2f} nats a token, more than "
            f"max_divergence={most:g}, on {tokens} tokens that the same weights should find equally likely, and in "
            f"{self.strays} of {self.rows} rows by more than {STRAY * most:g}. The "
            "trainer has read another context than the sampler, or the sampler reports other log-probabilities. Look "
            "at: tools that the sampler was given and the trajectory does not name, or the other way round "
            "(Trajectory(tools=...)); another system prompt, or other arguments of the chat template; images; a top_p "
            "or a penalty that the sampler's log-probabilities include; another temperature; a sampler with other "
            "weights. Nothing was changed. Sample from this model's own inference; or, if the sampler is meant to "
            "differ, name what corrects for it (truncated_importance_sampling=2.0, max_age) or set max_divergence=None."
        )

    def stepped(self, grad_norm: float) -> None:
        """Note that an optimiser step was taken on what was added."""
        self._norms.append(grad_norm)

    @property
    def optimizer_steps(self) -> int:
        return len(self._norms)

    def metrics(self) -> dict[str, float]:
        """Give the means, nothing where nothing was measured."""
        if not self._norms:
            return {}
        losses = {name: self._sums[name] / self.total for name in ("loss", "policy_loss")}
        means = {name: value / self.tokens for name, value in self._sums.items() if name not in losses}
        return {
            **losses,
            **means,
            **({"rows_diverged": float(self.strays)} if self.strays else {}),
            "ratio_max": self.largest_ratio,
            "grad_norm": sum(self._norms) / self.optimizer_steps,
            "optimizer_steps": float(self.optimizer_steps),
        }

    def _add(self, name: str, value_N: Tensor, weight_N: Tensor) -> None:
        self._sums[name] += (value_N.detach() * weight_N).double().sum().item()


def _per_token(terms: TokenTerms, vectors: Vectors) -> dict[str, Tensor]:
    terms_by_name = {
        "ratio": terms.ratio_N,
        "approx_kl": terms.approx_kl_N,
        "entropy": vectors.entropy_N,
        "clip_fraction": terms.clipped_N,
    }
    return terms_by_name if terms.kl_N is None else {**terms_by_name, "kl": terms.kl_N}
