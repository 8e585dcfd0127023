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
from art.train.state import DropoutRandom
from art.train.updates import Update


@dataclass(frozen=True, kw_only=True)
class Pass:
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
    device: torch.device

    def passes(self, update: Update) -> list[Pass]:
        """Lay out an optimiser step, and look at it through the reference and through the weights as they are."""
        return [self._pass(examples) for examples in update.passes]

    def accumulate(self, update: Update, passes: Sequence[Pass], measured: Measured) -> None:
        """Add the gradient of an optimiser step's loss; raises `TrainingDataError` if it is not finite."""
        total = total_weight(update.examples, self.config)
        passes = self._penalised(passes)
        for each in passes:
            vectors = self._vectors(each, self._score(each.batch))
            terms = token_terms(vectors, self.config)
            weight_N = token_weights(each.batch.trajectory_tokens_N, self.config) * vectors.mask_N
            loss_sum = (terms.loss_N * weight_N).sum()
            if not math.isfinite(loss_sum.item()):
                raise not_finite("loss", rows_of=each.longest_row)
            (loss_sum / total).backward()
            measured.add(terms, vectors, weight_N)
            if not measured.optimizer_steps:
                measured.compare(vectors, each.batch.comparable_N)
        measured.total += total
        measured.check_agreement(self.config.max_divergence)

    def _pass(self, examples: Sequence[Example]) -> Pass:
        config = self.config
        batch = collate(examples, device=self.device)
        reference_logp_N = None
        if self.reference is not None:
            with self.adapter.replaced(self.reference):
                reference_logp_N = self.scorer.score(batch).logp_N
        compares = config.precalculate_logprobs or config.truncated_importance_sampling is not None
        return Pass(
            batch=batch,
            reference_logp_N=reference_logp_N,
            first_logp_N=self._logp(batch) if compares else None,
            longest_row=max(len(example.row.token_ids) for example in examples),
        )

    @torch.no_grad()
    def _logp(self, batch: MicroBatch) -> Tensor:
        return self.scorer.score(batch).logp_N

    def _score(self, batch: MicroBatch) -> Scores:
        with ExitStack() as stack:
            if self.adapter.lora.dropout:
                stack.enter_context(self.adapter.dropping_out())
                stack.enter_context(self.random.installed())
            return self.scorer.score(batch, entropy_gradient=bool(self.config.entropy_bonus))

    def _vectors(self, each: Pass, scores: Scores) -> Vectors:
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

    def _penalised(self, passes: Sequence[Pass]) -> Sequence[Pass]:
        """Give the passes with the KL penalty on their advantages, centred over all tokens of the optimiser step."""
        if not self.config.kl_penalty_coef:
            return passes
        drifts = [self._drift(each) for each in passes]
        masks = [each.batch.mask_N for each in passes]
        summed = math.fsum((drift_N * mask_N).sum().item() for drift_N, mask_N in zip(drifts, masks, strict=True))
        mean = summed / sum(int(mask_N.sum()) for mask_N in masks)
        return [
            replace(each, batch=replace(each.batch, advantage_N=each.batch.advantage_N + penalty_N))
            for each, penalty_N in zip(
                passes,
                (penalty(drift_N, mean=mean, coefficient=self.config.kl_penalty_coef) for drift_N in drifts),
                strict=True,
            )
        ]

    def _drift(self, each: Pass) -> Tensor:
        assert each.reference_logp_N is not None
        logp_N = self._logp(each.batch)
        if self.config.kl_penalty_source == "sample":
            known_N = each.batch.sampler_logp_N
            logp_N = torch.where(known_N.isnan(), logp_N, known_N)
        return drift(logp_N, each.reference_logp_N)
