"""Stores with a history and no weights, and what a tracker has in the end, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters import adapter_bytes
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.ops.recording import as_line
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.track.tracker import Point, Run
from art.trajectories import Trajectory, TrajectoryGroup
from store.conftest import adapter_config

AGENT, FORK = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
SETTINGS = {"learning_rate": 1e-5, "loss": "cispo"}


def group(*rewards: float, question: str = "1 + 1?") -> TrajectoryGroup:
    def answered(reward: float) -> Trajectory:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": f"worth {reward}"}]
        return Trajectory(messages_and_choices=messages, reward=reward, metrics={"turns": 1})

    return TrajectoryGroup([answered(reward) for reward in rewards])


def train(store: CheckpointStore, model: ModelRef, *rewards: float) -> None:
    """Commit a checkpoint for each reward, and write down what the step before it earned."""
    for reward in rewards:
        parent = store.newest(model)
        step = parent.ref.step if parent else 0
        with store.stage(model.at(step + 1)) as stage:
            (stage.path / "adapter_config.json").write_bytes(adapter_config())
            (stage.path / "adapter_model.safetensors").write_bytes(adapter_bytes(f"{model} {step} {reward}".encode()))
            stage.commit(parent=parent, metrics={"reward": reward, "loss": -reward}, settings=SETTINGS)
        history = HistoryStore(store.root)
        history.append_trajectories(model, step, split="train", trajectories=[as_line(group(0.0, reward))])
        history.append(model, step, split="train", metrics={"reward": reward, "loss": -reward})


def validate(store: CheckpointStore, model: ModelRef, reward: float) -> None:
    newest = store.newest(model)
    step = newest.ref.step if newest else 0
    HistoryStore(store.root).append(model, step, split="val", metrics={"reward": reward})


def fork_agent(store: CheckpointStore, step: int) -> None:
    fork(ForkRequest(source=store, source_model=AGENT, pick=Exact(step), destination=store, model=FORK))


def new_store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder / "root")


@dataclass
class Shown:
    """What a tracker shows of one run."""

    points: list[tuple[int, str, float]] = field(default_factory=list)
    """Step, metric, value, in no order."""
    inherited_steps: set[int] = field(default_factory=set)
    settings: Mapping[str, str] = field(default_factory=dict)
    forked_from: str | None = None
    texts: str = ""
    """Everything that it shows of rollouts."""

    def of(self, metric: str) -> dict[int, float]:
        return {step: round(value, 6) for step, name, value in self.points if name == metric}


@dataclass
class ListTracker:
    """The simplest tracker: lists."""

    runs: dict[str, Shown]
    told: Run | None = None
    seen: int = 0

    def open(self, run: Run) -> None:
        self.told = run
        shown = self.runs.setdefault(run.name, Shown())
        shown.settings = {name: str(value) for name, value in run.settings.items()}
        shown.forked_from = str(run.parent.ref) if run.parent else None

    def log(self, points: Sequence[Point]) -> None:
        shown = self._shown
        shown.points += [(point.step, name, value) for point in points for name, value in point.metrics.items()]
        shown.inherited_steps |= {point.step for point in points if point.inherited_from}

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        self._shown.texts += f"{split} {step}: {[each.model_dump_json() for each in groups]}"

    def close(self) -> None:
        self.told = None

    @property
    def _shown(self) -> Shown:
        assert self.told is not None, "told something before it was opened, or after it was closed"
        return self.runs[self.told.name]


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in config.items()}
