"""From the examples of an optimiser step to a gradient on the adapter, and to the numbers to report.

Knows the model through its adapter and scorer; knows no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from art.adapter.adapted import LowRanks
from art.adapter.lora import TrainedAdapter
from art.config import TrainConfig
from art.train.batch import Example, MicroBatch, collate
from art.train.forward import Scorer, Scores
from art.train.loss.aggregate import token_weights, total_weight
from art.train.loss.divergence import drift, penalty
from art.train.loss.terms import token_terms
from art.train.loss.vectors import Vectors
from art.train.measured import Measured
from art.train.optimise import not_finite
from art.train.ranks.collective import Ranks
from art.train.ranks.summing import OrderedSum
from art.train.state import DropoutRandom
from art.train.trail import Trail, checksums
from art.train.updates import Update


@dataclass(frozen=True, kw_only=True)
class PolicyPass:
    """A micro-batch with what does not change while a training step goes on."""

    batch: MicroBatch
    reference_logp_N: Tensor | None
    first_logp_N: Tensor | None
    """The trainer's log-probabilities before the training step, None where nobody asks for them."""
    longest_row: int


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """Adds up the gradient of the loss that a config asks for."""

    adapter: TrainedAdapter
    scorer: Scorer
    config: TrainConfig
    reference: LowRanks | None
    """The reference's adapter, None without one."""
    random: DropoutRandom
    ranks: Ranks
    device: torch.device
    trail: Trail

    def passes(self, update: Update) -> list[PolicyPass]:
        """Lay out this rank's part of an optimiser step, and look at it through the reference and the weights."""
        return [self._pass(update.passes[place]) for place in self.ranks.places(len(update.passes))]

    def accumulate(self, update: Update, passes: list[PolicyPass], measured: Measured) -> None:
        """Add the gradient of an optimiser step's loss; raises `TrainingDataError` if it is not finite.

        Rows that the first look leaves out stay out of `passes`.
        """
        total = total_weight(update.examples, self.config)
        count = len(update.passes)
        seeds = self.random.seeds(count) if self.adapter.lora.dropout else [0] * count
        gradient = OrderedSum(self.adapter.parameters, self.ranks)
        places = self.ranks.places(count)
        for number, (place, each) in enumerate(zip(places, self._penalised(passes, count), strict=True)):
            counted = min(self.ranks.count, count - number * self.ranks.count)
            loss_sum, vectors, own = self._loss(each, seeds[place], compares=not measured.optimizer_steps)
            if own.strays:
                whole = passes[number]
                passes[number] = replace(whole, batch=replace(whole.batch, mask_N=vectors.mask_N))
            told = (loss_sum.item(), float(each.longest_row), *checksums([vectors.logp_N]), *own.numbers())
            for loss, longest_row, low, high, *numbers in self.ranks.gather_numbers(told, self.device)[:counted]:
                if not math.isfinite(loss):
                    raise not_finite("loss", rows_of=int(longest_row))
                self.trail.forward((low, high), loss)
                measured.absorb(numbers, own)
            (loss_sum / total).backward()
            gradient.add(counted)
        gradient.finish()
        self.trail.gradient(parameter.grad for parameter in self.adapter.parameters.values())
        measured.total += total
        measured.check_agreement(self.config.divergence_bound, strict=self.config.strict)

    def _loss(self, each: PolicyPass, seed: int, *, compares: bool) -> tuple[Tensor, Vectors, Measured]:
        """Give a micro-batch's sum of weighted losses, what it is computed from, and what there is to report."""
        vectors = self._vectors(each, self._score(each.batch, seed))
        measured = Measured()
        if compares:
            vectors = measured.compare(vectors, each.batch.comparable_N, most=self.config.divergence_bound)
        terms = token_terms(vectors, self.config)
        weight_N = token_weights(each.batch.trajectory_tokens_N, self.config) * vectors.mask_N
        measured.add(terms, vectors, weight_N)
        return (terms.loss_N * weight_N).sum(), vectors, measured

    def _pass(self, examples: Sequence[Example]) -> PolicyPass:
        config = self.config
        batch = collate(examples, device=self.device)
        reference_logp_N = None
        if self.reference is not None:
            with self.adapter.replaced(self.reference):
                reference_logp_N = self.scorer.score(batch).logp_N
        compares = config.precalculate_logprobs or config.truncated_importance_sampling is not None
        return PolicyPass(
            batch=batch,
            reference_logp_N=reference_logp_N,
            first_logp_N=self._logp(batch) if compares else None,
            longest_row=max(len(example.row.token_ids) for example in examples),
        )

    @torch.no_grad()
    def _logp(self, batch: MicroBatch) -> Tensor:
        return self.scorer.score(batch).logp_N

    def _score(self, batch: MicroBatch, seed: int) -> Scores:
        with ExitStack() as stack:
            if self.adapter.lora.dropout:
                stack.enter_context(self.adapter.dropping_out())
                stack.enter_context(self.random.installed(seed))
            return self.scorer.score(batch, entropy_gradient=bool(self.config.entropy_bonus))

    def _vectors(self, each: PolicyPass, scores: Scores) -> Vectors:
        batch, own_logp_N = each.batch, scores.logp_N.detach()
        sampler_logp_N = torch.where(batch.sampler_logp_N.isnan(), own_logp_N, batch.sampler_logp_N)
        return Vectors(
            logp_N=scores.logp_N,
            entropy_N=scores.entropy_N,
            sampler_logp_N=sampler_logp_N,
            old_logp_N=sampler_logp_N if each.first_logp_N is None else each.first_logp_N,
            reference_logp_N=each.reference_logp_N,
            advantage_N=batch.advantage_N,
            trajectory_N=batch.trajectory_N,
            sequence_N=batch.sequence_N,
            mask_N=batch.mask_N,
        )

    def _penalised(self, passes: Sequence[PolicyPass], count: int) -> Sequence[PolicyPass]:
        """Give the passes with the KL penalty on their advantages, centred over all tokens of the optimiser step."""
        if not self.config.kl_penalty_coef:
            return passes
        drifts = [self._drift(each) for each in passes]
        masks = [each.batch.mask_N for each in passes]
        mean = self._mean(drifts, masks, count)
        return [
            replace(each, batch=replace(each.batch, advantage_N=each.batch.advantage_N + penalty_N))
            for each, penalty_N in zip(
                passes,
                (penalty(drift_N, mean=mean, coefficient=self.config.kl_penalty_coef) for drift_N in drifts),
                strict=True,
            )
        ]

    def _mean(self, values: Sequence[Tensor], masks: Sequence[Tensor], count: int) -> float:
        """Give the mean over all loss tokens of the optimiser step's `count` micro-batches."""
        sums = [(value_N * mask_N).sum().item() for value_N, mask_N in zip(values, masks, strict=True)]
        tokens = [float(mask_N.sum()) for mask_N in masks]
        sums_of_ranks = self.ranks.gather_numbers([*sums, *tokens], self.device)
        # Round by round, and in a round rank by rank: the order of the micro-batches, without what is repeated.
        in_order = [(each[at], each[at + len(sums)]) for at in range(len(sums)) for each in sums_of_ranks][:count]
        return math.fsum(total for total, _ in in_order) / sum(number for _, number in in_order)

    def _drift(self, each: PolicyPass) -> Tensor:
        assert each.reference_logp_N is not None
        logp_N = self._logp(each.batch)
        if self.config.kl_penalty_source == "sample":
            known_N = each.batch.sampler_logp_N
            logp_N = torch.where(known_N.isnan(), logp_N, known_N)
        return drift(logp_N, each.reference_logp_N)
