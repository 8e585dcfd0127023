"""GRPO on one LoRA adapter: trajectories in, one optimiser step, and all that continuing needs in a folder.

Knows tensors and the folders it is handed. Does not know where folders come from, who samples,
or what a model is called.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, cast

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.adapter.adapted import LowRanks
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ConfigurationError, StorageError
from art.train.fingerprint import environment, warn_of_change
from art.train.forward import Scorer
from art.train.measured import Measured
from art.train.memory import out_of_memory_named
from art.train.optimise import check_finite, clip, take, tensors_of, undone_if_it_fails
from art.train.policy_gradient import PolicyGradient
from art.train.preparation import Preparation
from art.train.prepare import AgeOf, Prepared, say_what_strayed, unknown_age
from art.train.ranks.collective import Ranks
from art.train.room import fitting_pass
from art.train.state import (
    PARTS,
    TRAINER_FILE,
    DropoutRandom,
    Progress,
    check_random,
    forget_moments,
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
from art.train.supervised import Lesson, as_policy_gradient, counted
from art.train.trail import Trail
from art.train.updates import Update, update_of, updates
from art.trajectories import Trajectory, TrajectoryGroup

logger = logging.getLogger(__name__)
ALONE = Ranks()


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
        ranks: Ranks = ALONE,
    ) -> None:
        self._preparation = Preparation(base, tokenizer)
        self._ranks = ranks
        self._seed = seed
        self._device = base.device
        self._environment = environment(base)
        self._adapter = TrainedAdapter(base, lora=lora, base_name=base_name or cast(str, base.name_or_path))
        self._scorer = Scorer(self._adapter.model, as_now=self._adapter.as_now)
        self.start()

    @property
    def model(self) -> PreTrainedModel:
        """The base's module tree with the adapter beside it."""
        return self._adapter.model

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

    @property
    def seen(self) -> Any:
        """What the run was trained on, a JSON value that is saved and restored with the adapter."""
        return self._progress.seen

    @seen.setter
    def seen(self, value: Any) -> None:
        self._progress.seen = value

    def start(self) -> None:
        """Begin with an adapter that changes nothing yet, drawn from the seed; everything else afresh too."""
        self._adapter.start(self._seed)
        self._optimizer = fresh_optimizer(self._adapter.parameters)
        self._progress = Progress(random=seeded_random(self._seed, self._device))
        self.trail: Mapping[str, str] = {}

    def load(self, folder: Path, *, reset: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Continue from a folder, all but the parts in `reset`; return the parts that started afresh.

        A folder that ART or PEFT wrote has only the adapter. Raises `LoRAShapeMismatchError` or
        `CorruptCheckpointError`, and has then changed nothing.
        """
        if unknown := sorted(reset - set(PARTS)):
            raise ConfigurationError(f"{', '.join(unknown)} cannot be reset; the parts are {', '.join(PARTS)}.")
        tensors = self._adapter.read(folder)
        moments = None if "optimizer" in reset else read_optimizer(folder, self._adapter.parameters)
        saved = read_progress(folder)
        if saved and "random" not in reset:
            check_random(saved[0].random, self._device, where=folder / TRAINER_FILE)
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
        progress.objective, progress.pass_tokens = saved.objective, saved.pass_tokens
        progress.seen = saved.seen
        afresh = set(reset)
        if "schedule" not in reset:
            progress.schedule_step = saved.schedule_step
        if "state" not in reset:
            progress.state = saved.state
        if "random" not in reset and self._device.type in saved.random:
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

    def step(
        self,
        groups: Sequence[TrajectoryGroup],
        config: TrainConfig,
        *,
        reference: Path | None = None,
        age_of: AgeOf = unknown_age,
    ) -> dict[str, float]:
        """Learn from the groups, in as many optimiser steps as the config makes of them, and return the metrics.

        `reference` is the folder of the adapter that `kl_reference` names, None for the base model; `age_of` tells how
        many steps ago a version of the weights sampled. Trajectories that
        cannot be trained on are left out and counted. When nothing is left, or no group has signal, the adapter and
        its moments stay as they are, while the counters of steps and of the schedule advance; what was not measured is
        missing from the metrics. Raises `TrainingDataError` for what a strict config does not leave out and for a
        loss or gradient that is not finite, `DivergedError` for weights that are not, and `OutOfMemoryError`; nothing
        has changed then.
        """
        started = time.perf_counter()
        prepared = self._preparation.groups(groups, config, age_of)
        metrics = self.learn(prepared, config, reference=reference)
        say_what_strayed(metrics)
        return {**metrics, "seconds": time.perf_counter() - started}

    def learn(self, prepared: Prepared, config: TrainConfig, *, reference: Path | None = None) -> dict[str, float]:
        """Learn from groups that were read; see `step`."""
        rate = learning_rate(config, self._progress.schedule_step)
        with undone_if_it_fails(self._adapter.parameters, self._optimizer, self._progress):
            self._turn_to("policy")
            pass_tokens = self._pass_tokens(config)
            plan = updates(prepared.examples, config, limits=self._preparation.limits, pass_tokens=pass_tokens)
            work = [(update, rate) for update in plan]
            with self._bounded(work, pass_tokens):
                measured = self._learn(work, config, self._reference(config, reference))
            self._progress.schedule_step += 1
        return {
            **prepared.metrics,
            **measured.metrics(),
            "learning_rate": rate,
            "tokens": float(prepared.loss_tokens),
            "rows": float(len(prepared.examples)),
        }

    def _reference(self, config: TrainConfig, folder: Path | None) -> LowRanks | None:
        if not config.needs_reference:
            return None
        return {} if folder is None else self._adapter.read_other(folder)

    def train_on_answers(self, trajectories: Sequence[Trajectory], config: TrainSFTConfig) -> dict[str, float]:
        """Learn to say the answers of conversations, an optimiser step for each batch, and return the metrics.

        Moments start afresh where the step before was of reinforcement learning, and the other way round: their sizes
        have nothing to do with one another. Refuses and undoes as `step` does.
        """
        started = time.perf_counter()
        lesson = self._preparation.answers(trajectories, config)
        told = self.learn_answers(lesson, config)
        return {**told, **counted(trajectories, lesson), "seconds": time.perf_counter() - started}

    def learn_answers(self, lesson: Lesson, config: TrainSFTConfig) -> dict[str, float]:
        """Learn to say answers that were read; see `train_on_answers`."""
        with undone_if_it_fails(self._adapter.parameters, self._optimizer, self._progress):
            self._turn_to("answers")
            pass_tokens = self._pass_tokens(config)
            limits = self._preparation.limits
            work = [(update_of(each, limits=limits, pass_tokens=pass_tokens), rate) for each, rate in lesson.batches]
            with self._bounded(work, pass_tokens):
                measured = self._learn(work, as_policy_gradient(config), None)
        told = ("loss", "entropy", "grad_norm", "optimizer_steps")
        return {
            **{name: value for name, value in measured.metrics().items() if name in told},
            "learning_rate": lesson.batches[-1][1] if lesson.batches else 0.0,
            "tokens": float(measured.tokens),
        }

    def environment(self) -> Mapping[str, object]:
        """Give what the bits depend on."""
        return self._environment

    def close(self) -> None:
        """Do nothing: there is no process to let go of."""

    def _turn_to(self, objective: Literal["policy", "answers"]) -> None:
        if self._progress.objective != objective:
            forget_moments(self._optimizer)
            self._progress.objective = objective

    def _pass_tokens(self, config: TrainConfig | TrainSFTConfig) -> int:
        """Give how many tokens a pass may have; what was once chosen stays, so that continuing gives the same bits."""
        if config.micro_batch_tokens != "auto":
            return config.micro_batch_tokens
        if self._progress.pass_tokens is None:
            fitting = fitting_pass(self._adapter.model, rank=self._adapter.lora.rank)
            # What fits the fullest of the ranks.
            self._progress.pass_tokens = int(min(self._ranks.gather_numbers([fitting], self._device))[0])
        return self._progress.pass_tokens

    def _bounded(self, work: Sequence[tuple[Update, float]], pass_tokens: int) -> AbstractContextManager[None]:
        longest_row = max((len(each.row.token_ids) for update, _ in work for each in update.examples), default=0)
        return out_of_memory_named(micro_batch_tokens=pass_tokens, longest_row=longest_row)

    def _learn(self, work: Sequence[tuple[Update, float]], config: TrainConfig, reference: LowRanks | None) -> Measured:
        """Take an optimiser step for each update at its rate, as often as the config says, and count them as one."""
        random = DropoutRandom(self._progress.random[self._device.type], self._device)
        gradient = PolicyGradient(
            adapter=self._adapter,
            scorer=self._scorer,
            config=config,
            reference=reference,
            random=random,
            ranks=self._ranks,
            device=self._device,
            trail=Trail(),
        )
        measured = Measured()
        laid_out = [(update, gradient.passes(update), rate) for update, rate in work]
        for update, _ in work:
            gradient.trail.examples(update.examples)
        for update, passes, rate in itertools.chain.from_iterable(itertools.repeat(laid_out, config.epochs)):
            gradient.accumulate(update, passes, measured)
            measured.stepped(clip(self._adapter.parameters, config.max_grad_norm))
            power = config.num_trajectories_learning_rate_multiplier_power
            take(self._optimizer, rate * update.trajectories**power, config)
        check_finite(self._adapter.parameters, self._optimizer)
        self._ranks.check_same(tensors_of(self._adapter.parameters, self._optimizer), self._device)
        self._progress.optimizer_steps += 1
        self._progress.random = {**self._progress.random, self._device.type: random.state}
        self.trail = gradient.trail.digests()
        return measured
