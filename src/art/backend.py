"""What a backend does for a model: the protocol that `art.Model` speaks, and nothing about how it is done."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from pydantic import JsonValue

from art.absent import INSTEAD, instead_in
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ConfigurationError
from art.metrics import MetricsBuilder
from art.names import ModelRef
from art.position import Positions
from art.trajectories import Trajectory, TrajectoryGroup


@dataclass(frozen=True)
class Inference:
    """Where a registered model answers."""

    base_url: str
    api_key: str


@dataclass(frozen=True)
class TrainResult:
    """A training step that is done: its checkpoint is on the disk and inference serves it."""

    step: int
    metrics: Mapping[str, float]
    path: Path

    @property
    def checkpoint_path(self) -> str:
        """The checkpoint's folder as text, by ART's name."""
        return str(self.path)

    @property
    def checkpoint_ready(self) -> None:
        """What ART has scripts wait for where a checkpoint is still being written; here none is."""


class AnyModel(Protocol):
    """A model as a backend knows it."""

    @property
    def ref(self) -> ModelRef: ...
    @property
    def trainable(self) -> bool: ...
    @property
    def report_metrics(self) -> Sequence[str] | None: ...

    async def disconnect(self) -> None: ...


class Trainable(AnyModel, Protocol):
    """A model that a backend can train."""

    @property
    def base_model(self) -> str: ...
    @property
    def lora(self) -> LoRAConfig | None: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...

    state: JsonValue

    @property
    def positions(self) -> Positions: ...
    def metrics_builder(self, cost_context: str | None = None) -> MetricsBuilder: ...


class Records(Protocol):
    """Keeps what models write down."""

    async def log(
        self,
        model: AnyModel,
        groups: Sequence[TrajectoryGroup],
        *,
        split: str,
        metrics: Mapping[str, float],
        step: int | None,
    ) -> None: ...

    def write_state(self, model: AnyModel, state: dict[str, Any]) -> None: ...

    def read_state(self, model: AnyModel) -> dict[str, Any] | None: ...

    def describe(self, model: AnyModel, settings: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Draws(Protocol):
    """A backend that can show in a notebook where a model stands."""

    def draw(self, model: AnyModel) -> str: ...


class Backend(Records, Protocol):
    """Trains models, serves them, and keeps their checkpoints and histories."""

    def __new__(cls, *_: Any, **options: Any) -> Self:
        """Refuse to be made, as scripts of ART's older releases make one of a server's address."""
        if cls is Backend:
            raise ConfigurationError(f"art.Backend names what any backend does. {INSTEAD['art.client']}")
        return super().__new__(cls)

    async def register(self, model: AnyModel, *, port: int = 0) -> Inference | None: ...

    async def train(
        self,
        model: Trainable,
        trajectory_groups: Iterable[TrajectoryGroup],
        *,
        config: TrainConfig | None = None,
        verbose: bool = False,
    ) -> TrainResult: ...

    async def train_sft(
        self,
        model: Trainable,
        trajectories: Iterable[Trajectory],
        *,
        config: TrainSFTConfig | None = None,
        verbose: bool = False,
    ) -> TrainResult: ...

    async def get_step(self, model: AnyModel) -> int: ...

    async def delete_checkpoints(
        self, model: AnyModel, *, best_metric: str | None, mode: Literal["min", "max"] | None = None
    ) -> None: ...

    async def close(self) -> None: ...


def records_below(path: str) -> Records:
    """Give the records of a root on this disk, for models that no backend holds."""
    # By its name: the face knows no store.
    return importlib.import_module("art.local.records").RecordsBelow(path)


def as_groups(items: Iterable[Trajectory | BaseException | TrajectoryGroup | None]) -> list[TrajectoryGroup]:
    """Put loose trajectories, and the exceptions among them, into one group, after the groups; None is left out."""
    if isinstance(items, TrajectoryGroup):
        return [items]
    items = [item for item in items if item is not None]
    loose = [item for item in items if not isinstance(item, TrajectoryGroup)]
    groups = [item for item in items if isinstance(item, TrajectoryGroup)]
    return [*groups, TrajectoryGroup(loose)] if loose else groups


__getattr__ = instead_in(__name__)
