"""One model in training: its trainer, and the checkpoint that it stands at.

Synchronous; the backend hops over with threads. A session is always at a committed checkpoint, or at step 0: a step
that fails anywhere leaves it there. Knows neither what samples nor what listens.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from art.adapter.files import lora_config_of, read_adapter_shape
from art.backend import Trainable, TrainResult
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ArtError, ConfigurationError
from art.format.json import canonical_json
from art.format.layout import TRAINER
from art.format.manifest import TEMPLATE, LearnedFrom, finite_metrics, utc_now
from art.format.seen import SeenData, read_seen
from art.local.ages import ages
from art.local.bases import Base
from art.local.compatible import (
    adapter_shape,
    check_base,
    check_rank,
    check_same,
    check_shape,
    names_layers_by_pattern,
    shape_of,
)
from art.local.given import rollout_seconds
from art.local.learners import open_learner
from art.local.past import open_past
from art.local.resting import device_free
from art.local.standing import Standing
from art.names import CheckpointRef
from art.ops.recording import as_line, learned_from
from art.ops.scenarios import scenarios_of
from art.store.checkpoint import Checkpoint
from art.store.history import HistoryStore
from art.store.liveness import ENDED, Beacon
from art.train.fingerprint import LIBRARIES
from art.train.learner import Learner
from art.train.memory import uncommitted
from art.trajectories import Trajectory, TrajectoryGroup

_log = logging.getLogger("art")


class Session:
    """Trains one model. `publish` is called with the step and the adapter's folder that it stands at from then on.

    `on_commit` is called with every checkpoint that was written. It stands nowhere before `resume`.
    """

    def __init__(
        self,
        model: Trainable,
        base: Base,
        standing: Standing,
        *,
        seed: int,
        publish: Callable[[int, Path | None], None],
        on_commit: Callable[[Checkpoint], None],
    ) -> None:
        self._model = model
        self._base = base
        self._standing = standing
        self._store = store = standing.store
        self._history = HistoryStore(store.root)
        self._seed = seed
        self._publish, self._on_commit = publish, on_commit
        self._training = threading.Lock()
        self._parent: Checkpoint | None = None
        self._beacon = Beacon(store.root, model.ref, utc_now())
        self._seen = SeenData()
        self._lora = adapter_shape(model, None)
        self._trainer = self._new_trainer()
        self._settled = False

    def attach(self, model: Trainable) -> None:
        """Serve another object of the same model from here on: its state is the one that is saved."""
        with self._training:
            if model is not self._model:
                check_same(model, self._model)
                self._model = model
                model.state = self._trainer.state
                model.positions.move(self._seen.reached)

    def resume(self) -> None:
        """Stand at the newest checkpoint: after a fork, a rewind, or another process's step."""
        with self._training:
            self._resume()

    def train(self, groups: Sequence[TrajectoryGroup], config: TrainConfig) -> TrainResult:
        """Take a training step and commit it; on any error the session stays where it was."""
        with self._training:
            with uncommitted(f"the next step of {self._model.ref}"):
                self._stand()
                reference = self._reference(config)
                age_of = ages(self._store.segments(self._model.ref), here=self._step)
                step = partial(self._trainer.step, groups, config, reference=reference, age_of=age_of)
                scenarios = scenarios_of(groups)
            return self._train(groups, config, step, scenarios=scenarios)

    def train_sft(self, trajectories: Sequence[Trajectory], config: TrainSFTConfig) -> TrainResult:
        """Take a training step on the answers of conversations and commit it; errors are as in `train`."""
        with self._training:
            with uncommitted(f"the next step of {self._model.ref}"):
                self._stand()
                groups = [TrajectoryGroup(trajectories)]
                step = partial(self._trainer.train_on_answers, trajectories, config)
                scenarios = scenarios_of(TrajectoryGroup([trajectory]) for trajectory in trajectories)
            return self._train(groups, config, step, scenarios=scenarios)

    def close(self) -> None:
        """Let go of the weights that are trained."""
        if self._beacon.is_lit:
            self._beacon.beat(ENDED)
        with self._training:
            self._trainer.close()

    def _stand(self) -> None:
        if self._moved():
            self._resume()
        elif not self._settled:
            self._recover()

    def _train(
        self,
        groups: Sequence[TrajectoryGroup],
        config: TrainConfig | TrainSFTConfig,
        step_of: Callable[[], Mapping[str, float]],
        *,
        scenarios: Sequence[str],
    ) -> TrainResult:
        ref = self._model.ref.at(self._step + 1)
        with uncommitted(str(ref)):
            lines = [as_line(group) for group in groups]
            seen = self._seen.after(scenarios, [group.place for group in groups if group.place and len(group)])
            self._trainer.state, self._trainer.seen = self._state(), seen.model_dump(mode="json")
            # From here to the commit the trainer is ahead of its checkpoint; an error in between makes the next step
            # begin with a resume.
            self._settled = False
            with device_free(self._base):
                metrics = {**step_of(), **rollout_seconds(groups)}
            self._standing.require_root(self._model.ref, self._parent)
            learned = learned_from(lines, self._trainer.trail, scenarios)
            checkpoint = self._commit(ref, metrics, settings=config.model_dump(mode="json"), learned=learned)
        self._parent, self._seen = checkpoint, seen
        self._after_commit(checkpoint, lines)
        return TrainResult(ref.step, metrics, checkpoint.path)

    def _commit(
        self, ref: CheckpointRef, metrics: Mapping[str, float], *, settings: dict[str, JsonValue], learned: LearnedFrom
    ) -> Checkpoint:
        environment = self._trainer.environment()
        stage = self._store.stage(ref)
        try:
            with stage:
                self._trainer.save(stage.path)
                return stage.commit(
                    parent=self._parent,
                    base_model=self._base.info,
                    lora=shape_of(self._lora),
                    libraries={name: str(environment[name]) for name in LIBRARIES},
                    environment={name: value for name, value in environment.items() if name not in LIBRARIES}
                    | {"seed": self._seed, **({TEMPLATE: self._base.template} if self._base.template else {})},
                    metrics=finite_metrics(metrics),
                    settings=settings,
                    learned_from=learned,
                )
        except (ArtError, OSError, MemoryError) as error:
            checkpoint = stage.find_committed()
            if checkpoint is None:
                raise
            _log.error("%s is committed, and taken as such: %s", ref, error)
            return checkpoint

    def _after_commit(self, checkpoint: Checkpoint, lines: Sequence[str]) -> None:
        """Do what follows a commit. The step is safe: what fails is said here, and made good by the next start."""

        def serve() -> None:
            self._publish(self._step, checkpoint.path)
            self._settled = True

        def record() -> None:
            self._record(lines, checkpoint)

        # What it is handed on to reads the history.
        followers = (
            ("move the data of", partial(self._model.positions.commit, self._seen.reached)),
            ("serve", serve),
            ("write down", record),
            ("hand on", partial(self._on_commit, checkpoint)),
            ("give a sign of", self._beacon.beat),
        )
        for what, follow in followers:
            try:
                follow()
            except (ArtError, OSError, RuntimeError, MemoryError) as error:
                why = str(error) or type(error).__name__
                _log.error("%s is committed, but the backend could not %s it: %s", checkpoint.ref, what, why)

    @property
    def _step(self) -> int:
        return self._parent.ref.step if self._parent else 0

    def _moved(self) -> bool:
        newest = self._standing.newest(self._model.ref, self._parent)
        return (newest and newest.digest) != (self._parent and self._parent.digest)

    def _recover(self) -> None:
        """Go back to the checkpoint after a step that failed; what the user has set since stays."""
        state = self._model.state
        self._resume()
        self._model.state = state

    def _resume(self) -> None:
        newest = self._standing.newest_sound(self._model.ref, self._parent)
        if newest:
            check_base(self._model, newest.description, self._base.info)
            check_shape(self._model, newest.description)
        lora = self._shape(newest)
        check_rank(self._model, lora, most=self._base.sampler.traits.max_rank)
        if lora != self._lora:
            self._lora = lora
            self._trainer.close()
            self._trainer = self._new_trainer()
        if newest:
            self._load(newest)
        else:
            self._trainer.start()
            self._seen = SeenData()
        moved = (newest and newest.digest) != (self._parent and self._parent.digest)
        place = self._model.positions.move if moved else self._model.positions.commit
        place(self._seen.reached)
        self._parent = newest
        self._publish(self._step, newest.path if newest else None)
        self._settled = True

    def _shape(self, newest: Checkpoint | None) -> LoRAConfig:
        # Other programs may name the layers by a pattern, which a fork keeps; the tensors say which they are.
        if newest and (newest.is_foreign or names_layers_by_pattern(newest.description)):
            return lora_config_of(read_adapter_shape(newest.path))
        return adapter_shape(self._model, newest.description if newest else None)

    def _load(self, checkpoint: Checkpoint) -> None:
        afresh = self._trainer.load(checkpoint.path, reset=frozenset(checkpoint.description.reset))
        if checkpoint.is_foreign:
            _log.warning("%s has no manifest; these parts start afresh: %s.", checkpoint.ref, ", ".join(afresh))
        self._model.state = self._trainer.state
        where = str(checkpoint.path / TRAINER)
        seen = read_seen(self._trainer.seen, step=checkpoint.ref.step, where=where)
        self._seen = seen.without_positions() if "state" in checkpoint.description.reset else seen
        self._complete_history(checkpoint)

    def _new_trainer(self) -> Learner:
        return open_learner(self._base, lora=self._lora, seed=self._seed)

    def _state(self) -> JsonValue:
        try:
            canonical_json(self._model.state)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self._model.ref}.state cannot be written as JSON: {error}.") from error
        return self._model.state

    def _reference(self, config: TrainConfig) -> Path | None:
        """Give the folder of the KL reference's adapter; None is the base model."""
        choice = config.kl_reference
        if not config.needs_reference or choice == "base":
            return None
        if isinstance(choice, Path):
            return choice
        # A negative number counts back from here; before the first step lies the base.
        checkpoint = open_past(
            self._store, self._model.ref, step=choice if choice >= 0 else max(0, self._step + choice)
        )
        return checkpoint and checkpoint.path

    def _record(self, lines: Sequence[str], checkpoint: Checkpoint) -> None:
        """Write the update's metrics and trajectories at the step whose weights earned them: the one before."""
        model, step = checkpoint.ref.model, checkpoint.ref.step - 1
        self._history.append_trajectories(model, step, split="train", trajectories=lines)
        self._history.append(model, step, split="train", metrics=checkpoint.description.metrics)

    def _complete_history(self, newest: Checkpoint) -> None:
        """Write the metrics of a checkpoint that was committed right before a crash."""
        parent = newest.description.parent
        model, step = newest.ref.model, newest.ref.step - 1
        is_own_step = not newest.is_foreign and (parent is None or parent.ref.model == model)
        if is_own_step:
            measured = (step, "train", newest.description.metrics)
            self._history.append_missing(model, [measured])
