"""What a model writes down: what it earned, a state of the script's own, numbers for those who look on.

With a backend it goes where that keeps things; before `register` below the model's own `base_path`. Knows the backend
by its protocol.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextvars import Token
from typing import Any, cast

from pydantic import BaseModel, PrivateAttr

from art.absent import SaysInstead
from art.backend import Backend, Records, as_groups, records_below
from art.errors import NotRegisteredError
from art.metrics import MetricsBuilder
from art.names import ModelRef
from art.trajectories import Trajectory, TrajectoryGroup

TOTALS = "_metrics_builder"
"""The key under which the state of a model holds the totals of its metrics."""
CONTEXT_OF = {"val": "eval", "test": "eval"}
"""Which builder of metrics a split is written with, where it has another name."""


class Recorded(SaysInstead, BaseModel, defer_build=True):
    """A model of a project, and the records of it."""

    name: str
    project: str
    base_path: str = ".art"
    """Where records go as long as there is no backend."""

    _backend: Backend | None = PrivateAttr(default=None)
    _metrics: MetricsBuilder | None = PrivateAttr(default=None)
    _shown: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def ref(self) -> ModelRef:
        """Where the model's folder lies; raises `InvalidNameError` for a name that cannot be one."""
        return ModelRef(self.project, self.name)

    def backend(self) -> Backend:
        """Give the backend; raises `NotRegisteredError` before `register`."""
        if self._backend is None:
            raise NotRegisteredError(f"{self!r} has no backend yet; call `await model.register(backend)` first.")
        return self._backend

    async def log(
        self,
        trajectories: Iterable[Trajectory | BaseException | TrajectoryGroup | None] | None = None,
        split: str = "val",
        *,
        metrics: Mapping[str, float] | None = None,
        step: int | None = None,
    ) -> None:
        """Write trajectories and their mean reward and metrics to the model's history; exceptions are counted.

        `metrics` are written beside them, also without any trajectory, at `step` or at the model's newest one, and what
        `metrics_builder` has added up. What `train` has written is not written twice. Nothing to log is no error.
        """
        groups, told = as_groups(trajectories or ()), {**(metrics or {}), **self._added_up(split)}
        if groups or told:
            await self._records().log(self._as_model(), groups, split=split, metrics=told, step=step)

    async def get_step(self) -> int:
        """Give the newest step, 0 for an untrained model."""
        return await self.backend().get_step(self._as_model())

    def overwrite_state(self, state: Mapping[str, Any]) -> None:
        """Note a state of the script's own, on the disk at once; a trainable model's next checkpoint carries it too."""
        self._records().write_state(self._as_model(), dict(state))

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Do what `overwrite_state` does, by ART's older name."""
        warnings.warn("write_state is now overwrite_state, or merge_state.", DeprecationWarning, stacklevel=2)
        self.overwrite_state(state)

    def merge_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Add to the state that is noted, mappings inside it included, and give it whole."""
        merged = _merged(self.read_state() or {}, state)
        self.overwrite_state(merged)
        return merged

    def read_state(self) -> dict[str, Any] | None:
        """Give the state that was noted last where the model stands now, None when there is none."""
        return self._records().read_state(self._as_model())

    def update_wandb_config(self, config: Mapping[str, Any]) -> None:
        """Add to the settings that every tracker shows of the model's run, from its next metrics on."""
        self._shown = _merged(self._shown, config)
        if self._backend is not None:
            self._backend.describe(self._as_model(), self._shown)

    def metrics_builder(self, cost_context: str | None = None) -> MetricsBuilder:
        """Give what adds up costs, times and amounts until the next `log` of the split writes them.

        The context `train` goes with the split `train`, `eval` with `val` and `test`, any other with its own name.
        """
        if self._metrics is None:
            self._metrics = MetricsBuilder("train")
            self._metrics.load_state_dict((self.read_state() or {}).get(TOTALS) or {})
        return self._metrics if cost_context is None else self._metrics.for_cost_context(cost_context)

    def activate_metrics_context(self, cost_context: str) -> Token[MetricsBuilder | None]:
        """Make a context's builder the one that `MetricsBuilder.get_active` gives."""
        return self.metrics_builder(cost_context).activate()

    def _bind(self, backend: Backend) -> None:
        self._backend = backend
        if self._shown:
            backend.describe(self._as_model(), self._shown)

    def _added_up(self, split: str) -> dict[str, float]:
        if self._metrics is None:
            return {}
        sums = self._metrics.for_cost_context(CONTEXT_OF.get(split, split)).flush_now()
        if sums:
            self.merge_state({TOTALS: self._metrics.state_dict()})
        return sums

    def _records(self) -> Records:
        return self._backend or records_below(self.base_path)

    def _as_model(self) -> Any:
        return self


def _merged(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put one mapping over another, and the mappings inside them too."""
    merged = dict(known)
    for name, value in more.items():
        earlier = merged.get(name)
        both = isinstance(earlier, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(cast("Mapping[str, Any]", earlier), cast("Mapping[str, Any]", value)) if both else value
    return merged
