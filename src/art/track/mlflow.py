"""MLflow: the experiment has the project's name, the run the model's. Where it logs is MLflow's own setting
(`MLFLOW_TRACKING_URI`).

A fork is a child of its parent's run, with tags that name the checkpoint; the points of its past are copied, and a
metric `inherited` is 1 at their steps. Rollouts are tables among the artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from art.errors import TrackerError
from art.track.conversations import COLUMNS, rows_of
from art.track.known import package
from art.track.tracker import Point, Run, RunParent
from art.trajectories import TrajectoryGroup

RUN, MODEL, FORKED_FROM, INHERITED = "art.run", "art.model", "art.forked_from", "art.inherited"
PARENT = "mlflow.parentRunId"
METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100
"""What MLflow takes in one request."""
VALUE_CHARS = 500
NOT_ALLOWED = re.compile(r"[^\w\-./: ]")
"""What a name of MLflow cannot hold."""


class MLflow:
    """Writes one run."""

    def __init__(self) -> None:
        self._mlflow = package("mlflow")
        self._entities = package("mlflow.entities")
        self._exceptions = package("mlflow.exceptions")
        self._client: Any = None
        self._id = ""
        self._params: set[str] = set()

    def open(self, run: Run) -> None:
        try:
            if not self._id:
                self._begin(run)
            self._describe(run)
        except self._exceptions.MlflowException as error:
            raise _refused(run.name, error) from error

    def log(self, points: Sequence[Point]) -> None:
        metrics = [metric for point in points for metric in self._metrics(point)]
        try:
            for first in range(0, len(metrics), METRICS_AT_ONCE):
                self._client.log_batch(self._id, metrics=metrics[first : first + METRICS_AT_ONCE])
        except self._exceptions.MlflowException as error:
            raise _refused(self._id, error) from error

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        table = {"columns": list(COLUMNS), "data": [list(row.cells) for row in rows_of(groups)]}
        try:
            self._client.log_dict(self._id, table, f"rollouts/{split}/{step:04d}.json")
        except (self._exceptions.MlflowException, OSError) as error:
            raise _refused(self._id, error) from error

    def close(self) -> None:
        if self._id:
            try:
                self._client.set_terminated(self._id)
            except self._exceptions.MlflowException as error:
                raise _refused(self._id, error) from error
            finally:
                self._id = ""

    def _begin(self, run: Run) -> None:
        self._client = self._mlflow.MlflowClient()
        project = run.model.project
        experiment = self._client.get_experiment_by_name(project)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(project)
        mlflow_run = self._find(experiment_id, f"{project}/{run.name}")
        if mlflow_run is not None:
            self._id = mlflow_run.info.run_id
            self._params = set(mlflow_run.data.params)
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {RUN: f"{project}/{run.name}", MODEL: str(run.model)}
        if run.parent:
            tags |= self._origin(experiment_id, run.parent) | {INHERITED: str(run.inherited)}
        self._id = self._client.create_run(experiment_id, run_name=run.name, tags=tags).info.run_id

    def _origin(self, experiment_id: str, parent: RunParent) -> dict[str, str]:
        above = self._find(experiment_id, f"{parent.ref.model.project}/{parent.run}")
        return {FORKED_FROM: str(parent.ref), **({PARENT: above.info.run_id} if above else {})}

    def _find(self, experiment_id: str, run: str) -> Any:
        runs = self._client.search_runs([experiment_id], f"tags.`{RUN}` = '{run}'", max_results=1)
        return runs[0] if runs else None

    def _describe(self, run: Run) -> None:
        """Note the settings; MLflow keeps the first value of each."""
        texts = {NOT_ALLOWED.sub("_", name): str(value)[:VALUE_CHARS] for name, value in run.settings.items()}
        params = [self._entities.Param(name, texts[name]) for name in texts if name not in self._params]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(self._id, params=params[first : first + PARAMS_AT_ONCE])
        self._params |= set(texts)

    def _metrics(self, point: Point) -> list[Any]:
        mark = {"inherited": 1.0} if point.inherited_from else {}
        return [
            self._entities.Metric(NOT_ALLOWED.sub("_", name), value, round(point.time_s * 1000), point.step)
            for name, value in {**mark, **point.metrics}.items()
        ]


def _refused(run: str, error: Exception) -> TrackerError:
    return TrackerError(f"MLflow did not take the run {run}: {error}")
