"""GRPO on one LoRA adapter: trajectories in, one optimiser step, and all that continuing needs in a folder.

Knows tensors and the folders it is handed. Does not know where folders come from, who samples,
or what a model is called.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.adapter.lora import Adapter, read_adapter
from art.config import LoRAConfig, TrainConfig
from art.errors import ConfigurationError, CorruptCheckpointError, StorageError, TrainingDataError
from art.train.batch import Example, MicroBatch, collate, micro_batches
from art.train.fingerprint import environment, warn_of_change
from art.train.forward import Scorer, Scores
from art.train.loss import TokenTerms, token_terms
from art.train.prepare import Prepared, prepare
from art.train.state import (
    PARTS,
    DropoutRandom,
    Progress,
    fresh_optimizer,
    learning_rate,
    optimizer_tensors,
    read_optimizer,
    read_progress,
    restored_optimizer,
    seeded_random,
    write_optimizer,
    write_progress,
)
from art.train.tokenize import Limits
from art.trajectories import TrajectoryGroup

logger = logging.getLogger(__name__)


class Trainer:
    """An adapter, its optimizer and how far they have come, over a base model that is shared and never changed.

    Two trainers with the same base, seed and data hold the same bits, as long as device, dtype, number of threads and
    library versions are the same.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        lora: LoRAConfig,
        seed: int,
        base_name: str | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._device = base.device
        self._environment = environment(base)
        self._adapter = Adapter(base, lora=lora, base_name=base_name or cast(str, base.name_or_path))
        self._scorer = Scorer(self._adapter.model)
        self._limits = _limits(base)
        self.start()

    @property
    def optimizer_steps(self) -> int:
        """Training steps since the adapter was fresh, across resumes and forks."""
        return self._progress.optimizer_steps

    @property
    def state(self) -> Any:
        """The user's own JSON value, saved with the adapter and restored with it."""
        return self._progress.state

    @state.setter
    def state(self, value: Any) -> None:
        self._progress.state = value

    def start(self) -> None:
        """Begin with an adapter that changes nothing yet, drawn from the seed; everything else afresh too."""
        self._adapter.start(self._seed)
        self._optimizer = fresh_optimizer(self._adapter.parameters)
        self._progress = Progress(random=seeded_random(self._seed, self._device))

    def load(self, folder: Path, *, reset: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Continue from a folder, all but the parts in `reset`; return the parts that started afresh.

        A folder that ART or PEFT wrote has only the adapter. Raises `LoRAShapeMismatchError` or
        `CorruptCheckpointError`, and has then changed nothing.
        """
        if unknown := sorted(reset - set(PARTS)):
            raise ConfigurationError(f"{', '.join(unknown)} cannot be reset; the parts are {', '.join(PARTS)}.")
        tensors = self._adapter.checked(read_adapter(folder))
        moments = None if "optimizer" in reset else read_optimizer(folder, self._adapter.parameters)
        saved = read_progress(folder)
        progress, afresh = self._merged_progress(saved[0] if saved else None, reset)
        parameters = self._adapter.parameters
        optimizer = restored_optimizer(moments, parameters) if moments else fresh_optimizer(parameters)

        self._adapter.take(tensors)
        self._optimizer, self._progress = optimizer, progress
        if saved:
            warn_of_change(saved[1], self._environment)
        return tuple(part for part in PARTS if part in afresh or (part == "optimizer" and not moments))

    def _merged_progress(self, saved: Progress | None, reset: frozenset[str]) -> tuple[Progress, set[str]]:
        """Give saved progress with the parts that are reset or missing as in a fresh start, and which these are."""
        progress = Progress(random=seeded_random(self._seed, self._device))
        if saved is None:
            return progress, {"schedule", "random", "state"}
        progress.optimizer_steps = saved.optimizer_steps
        afresh = set(reset)
        if "schedule" not in reset:
            progress.schedule_step = saved.schedule_step
        if "state" not in reset:
            progress.state = saved.state
        if "random" not in reset and self._device.type in saved.random:
            if len(saved.random[self._device.type]) != len(progress.random[self._device.type]):
                raise CorruptCheckpointError("trainer.json holds a random state of the wrong size.")
            progress.random = saved.random
        else:
            afresh.add("random")
        return progress, afresh

    def save(self, folder: Path) -> None:
        """Write adapter, optimizer and progress into a folder that exists; raises `StorageError`."""
        try:
            self._adapter.save(folder)
            write_optimizer(folder, optimizer_tensors(self._optimizer, self._adapter.parameters))
            write_progress(folder, self._progress, environment=self._environment)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"The trainer cannot write into {folder}: {error}") from error

    def merged_weights(self) -> dict[str, Tensor]:
        """Give the adapted layers' weights with the adapter added, by their names in the base model's state dict."""
        return self._adapter.merged_weights()

    def step(
        self, groups: Sequence[TrajectoryGroup], config: TrainConfig, *, reference: Path | None = None
    ) -> dict[str, float]:
        """Take one optimiser step on the groups and return its metrics.

        `reference` is the folder of the adapter that `kl_reference` names, None for the base model. Raises
        `TrainingDataError` for data that cannot be trained on, and for a loss or gradient that is not finite;
        nothing has changed then. When no group has signal the adapter and its moments stay as they are, while the
        counters of steps and of the schedule advance; what was not measured is missing from the metrics.
        """
        started = time.perf_counter()
        prepared = prepare(groups, self._tokenizer, limits=self._limits, scale_rewards=config.scale_rewards)
        rate = learning_rate(config, self._progress.schedule_step)
        random = DropoutRandom(self._progress.random[self._device.type], self._device)
        self._optimizer.zero_grad(set_to_none=True)
        if prepared.examples:
            measured = self._accumulate(prepared, config, self._reference(config, reference), random)
            measured["grad_norm"] = self._clip(config.max_grad_norm)
            self._update(rate, config)
        else:
            measured = {"loss": 0.0, "policy_loss": 0.0, "grad_norm": 0.0}
        self._progress.optimizer_steps += 1
        self._progress.schedule_step += 1
        self._progress.random = {**self._progress.random, self._device.type: random.state}
        return {
            "reward": prepared.reward,
            "reward_std": prepared.reward_std,
            **measured,
            "learning_rate": rate,
            "tokens": float(prepared.loss_tokens),
            "rows": float(len(prepared.examples)),
            "trajectories": float(prepared.trajectories),
            "groups": float(prepared.groups),
            "groups_without_signal": float(prepared.groups_without_signal),
            "seconds": time.perf_counter() - started,
        }

    def _reference(self, config: TrainConfig, folder: Path | None) -> Mapping[str, Tensor] | None:
        if not config.beta:
            return None
        return self._adapter.switched_off() if folder is None else self._adapter.checked(read_adapter(folder))

    def _accumulate(
        self, prepared: Prepared, config: TrainConfig, reference: Mapping[str, Tensor] | None, random: DropoutRandom
    ) -> dict[str, float]:
        """Add up the gradient of the mean loss over all loss tokens; return the means of what was measured."""
        sums: dict[str, float] = defaultdict(float)
        for examples in micro_batches(prepared.examples, max_tokens=config.micro_batch_tokens):
            batch = collate(examples, device=self._device)
            terms, scores = self._terms(batch, config, reference, random)
            loss_sum = terms.loss_N(config.beta).sum()
            if not math.isfinite(loss_sum.item()):
                raise self._not_finite("loss", examples)
            (loss_sum / prepared.loss_tokens).backward()
            for name, value_N in _measured(terms, scores, config).items():
                sums[name] += value_N.detach().double().sum().item()
        return {name: value / prepared.loss_tokens for name, value in sums.items()}

    def _terms(
        self, batch: MicroBatch, config: TrainConfig, reference: Mapping[str, Tensor] | None, random: DropoutRandom
    ) -> tuple[TokenTerms, Scores]:
        reference_logp_N = None
        if reference is not None:
            with self._adapter.replaced(reference):
                reference_logp_N = self._scorer.score(batch).logp_N
        with ExitStack() as stack:
            if self._adapter.lora.dropout:
                stack.enter_context(self._adapter.dropping_out())
                stack.enter_context(random.installed())
            scores = self._scorer.score(batch)
        terms = token_terms(
            scores.logp_N,
            batch.sampler_logp_N,
            advantage_N=batch.advantage_N,
            reference_logp_N=reference_logp_N,
            config=config,
        )
        return terms, scores

    def _clip(self, max_norm: float) -> float:
        """Scale the gradient down to `max_norm` and return the norm it had."""
        parameters = list(self._adapter.parameters.values())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=False)
        if not math.isfinite(norm.item()):
            raise self._not_finite("gradient", [])
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=False)
        return norm.item()

    def _update(self, rate: float, config: TrainConfig) -> None:
        for group in self._optimizer.param_groups:
            group.update(lr=rate, betas=config.betas, eps=config.adam_epsilon, weight_decay=config.weight_decay)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _not_finite(self, what: str, examples: Sequence[Example]) -> TrainingDataError:
        self._optimizer.zero_grad(set_to_none=True)
        where = f" (rows of up to {max(len(example.row.token_ids) for example in examples)} tokens)" if examples else ""
        return TrainingDataError(
            f"The {what} of this batch is not finite{where}; the adapter was left as it was. If it keeps happening, "
            "fork from an earlier step with a lower learning rate."
        )


def _measured(terms: TokenTerms, scores: Scores, config: TrainConfig) -> dict[str, Tensor]:
    measured = {
        "loss": terms.loss_N(config.beta),
        "policy_loss": terms.policy_N,
        "ratio": terms.ratio_N,
        "approx_kl": terms.approx_kl_N,
        "entropy": scores.entropy_N,
        "clip_fraction": terms.clipped_N,
    }
    return measured if terms.kl_N is None else {**measured, "kl": terms.kl_N}


def _limits(base: PreTrainedModel) -> Limits:
    config = base.config.get_text_config(decoder=True)
    embeddings = base.get_input_embeddings()
    return Limits(
        vocabulary=cast(Tensor, embeddings.weight).shape[0],
        context=getattr(config, "max_position_embeddings", None),
    )
