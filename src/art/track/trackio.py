"""Trackio: the project and the run have the model's names. Where it logs is trackio's own setting (`TRACKIO_DIR`,
`TRACKIO_SPACE_ID`, `TRACKIO_SERVER_URL`); what a server does not take, trackio keeps and sends later itself.

A fork names its parent in its configuration, and the checkpoint that it began with is an artifact by reference, which
the parent's run made and the fork's used. The points of its past are copied, and say whose they are. Rollouts are
traces.
"""

from __future__ import annotations

import builtins
import contextvars
import logging
from collections.abc import Sequence
from typing import Any

from art.errors import TrackerError
from art.track.conversations import rows_of
from art.track.known import package
from art.track.tracker import Point, Run, RunParent
from art.trajectories import TrajectoryGroup

_log = logging.getLogger("art")
_is_ours = contextvars.ContextVar("art-is-reporting", default=False)


class Trackio:
    """Writes one run. What is logged is safe once trackio's run has finished, so it is resumed for every batch."""

    def __init__(self) -> None:
        self._trackio = package("trackio")
        # Trackio prints to stdout, which is the script's.
        for module in (self._trackio, package("trackio.run")):
            vars(module)["print"] = _say
        # It keeps the current run in a variable of the context: the script's own run is not to be ended.
        self._context = contextvars.copy_context()
        self._context.run(_is_ours.set, True)
        self._run: Run | None = None

    def open(self, run: Run) -> None:
        is_new = self._run is None and run.told == 0
        self._run = run
        if is_new and run.parent and run.parent.where and run.parent.index >= 0:
            self._context.run(self._link, run, run.parent)

    def log(self, points: Sequence[Point]) -> None:
        self._context.run(self._write, [(point.step, _fields(point)) for point in points])

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        traces = [
            self._trackio.Trace(
                [*row.messages],
                metadata={"group": row.group, "rollout": row.rollout, "reward": row.reward, **row.metrics},
            )
            for row in rows_of(groups)
        ]
        self._context.run(self._write, [(step, {f"rollouts/{split}": traces})])

    def close(self) -> None:
        self._run = None

    def _write(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> None:
        handle = self._begin()
        for step, fields in rows:
            handle.log(fields, step=step)
        handle.finish()

    def _begin(self) -> Any:
        assert self._run is not None
        run = self._run
        origin = {"forked_from": str(run.parent.ref), "inherited": run.inherited} if run.parent else {}
        return self._init(run.model.project, run.name, config={"model": str(run.model), **origin, **run.settings})

    def _init(self, project: str, name: str, *, config: dict[str, Any] | None = None) -> Any:
        try:
            return self._trackio.init(
                project,
                name=name,
                config=config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise TrackerError(f"Trackio did not take the run {name}: {error}") from error

    def _link(self, run: Run, parent: RunParent) -> None:
        """Let the parent's run have made the checkpoint, and the fork's have used it."""
        name = f"{parent.ref.model.name}-{parent.ref.step}"
        artifact = self._trackio.Artifact(name, "checkpoint", metadata={"checkpoint": str(parent.ref)})
        artifact.add_reference(parent.where, checksum=False)
        maker = self._init(parent.ref.model.project, parent.run)
        maker.log_artifact(artifact)
        maker.finish()
        if parent.ref.model.project == run.model.project:
            user = self._begin()
            user.use_artifact(name)
            user.finish()


def _fields(point: Point) -> dict[str, Any]:
    mark = {"inherited": 1, "inherited_from": str(point.inherited_from)} if point.inherited_from else {}
    return {**mark, **point.metrics}


def _say(*words: object, **how: Any) -> None:
    """Print for a script that uses trackio itself, and log what it says of our runs."""
    if _is_ours.get():
        _log.debug("trackio: %s", " ".join(map(str, words)))
    else:
        builtins.print(*words, **how)  # noqa: T201 - the script's own words
