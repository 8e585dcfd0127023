"""The trajectories that models have written down, as a table of Polars: those of this library, and ART's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from art.absent import instead_in
from art.names import parse_step
from art.ops.recording import read_lines
from art.trajectories import Trajectory, TrajectoryGroup
from art.utils.output_dirs import get_models_dir, get_trajectories_dir
from art.utils.trajectory_logging import read_trajectory_groups_parquet

NUMBERED = ("metric_", "group_metric_")
DESCRIBED = ("metadata_", "group_metadata_")


async def load_trajectories(
    project_name: str, models: Collection[str] | None = None, debug: bool = False, art_path: str | None = None
) -> Any:
    """Give a row for each trajectory of a project, of all models or of those that are named.

    A row has `model`, `split`, `step`, `reward`, `group_number`, `messages`, `logs`, and a column for every metric and
    every entry of the metadata: `metric_*`, `metadata_*`, and of its group `group_metric_*`, `group_metadata_*`.
    `debug` prints which files are read.
    """
    rows = await asyncio.to_thread(lambda: list(_rows(project_name, models, art_path, debug=debug)))
    return _table(rows)


def _rows(
    project: str, models: Collection[str] | None, art_path: str | None, *, debug: bool
) -> Iterator[dict[str, Any]]:
    number = 0
    for model in sorted(Path(get_models_dir(project, art_path)).glob("*/")):
        if models is not None and model.name not in models:
            continue
        for file in sorted(Path(get_trajectories_dir(str(model))).glob("*/*.*")):
            step = parse_step(file.stem)
            if step is None or file.suffix not in (".jsonl", ".parquet"):
                continue
            if debug:
                print(f"reading {file}")  # noqa: T201 - what `debug` asks for
            for group in _groups(file):
                number += 1
                for trajectory in group:
                    place = {"model": model.name, "split": file.parent.name, "step": step, "group_number": number}
                    yield {**place, **_told(trajectory), **_told_of(group)}


def _groups(file: Path) -> Iterator[TrajectoryGroup]:
    if file.suffix == ".parquet":
        yield from read_trajectory_groups_parquet(file)
        return
    with file.open("rb") as lines:
        yield from read_lines(lines)


def _told(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "reward": trajectory.reward,
        "messages": [_message(message) for message in trajectory.for_logging()["messages"]],
        "logs": trajectory.logs,
        **{f"metric_{name}": float(value) for name, value in trajectory.metrics.items()},
        **{f"metadata_{name}": str(value) for name, value in trajectory.metadata.items()},
    }


def _told_of(group: TrajectoryGroup) -> dict[str, Any]:
    return {
        **{f"group_metric_{name}": float(value) for name, value in group.metrics.items()},
        **{f"group_metadata_{name}": str(value) for name, value in group.metadata.items()},
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    named = [{"function": {name: call.get(name) for name in ("name", "arguments")}} for call in calls]
    text = content if content is None or isinstance(content, str) else json.dumps(content)
    return {"role": message["role"], "content": text, "tool_calls": named or None, "trainable": message["trainable"]}


def _table(rows: list[dict[str, Any]]) -> Any:
    try:
        import polars  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise ImportError("The table is one of Polars: pip install 'artfork[plotting]'") from None
    call = polars.Struct({"function": polars.Struct({"name": polars.Utf8, "arguments": polars.Utf8})})
    message = {"role": polars.Utf8, "content": polars.Utf8, "tool_calls": polars.List(call)}
    schema = {
        "model": polars.Utf8,
        "split": polars.Utf8,
        "step": polars.Int64,
        "reward": polars.Float64,
        "group_number": polars.Int64,
        "messages": polars.List(polars.Struct({**message, "trainable": polars.Boolean})),
        "logs": polars.List(polars.Utf8),
    }
    told = dict.fromkeys(name for row in rows for name in row if name not in schema)
    schema |= {name: polars.Float64 for name in told if name.startswith(NUMBERED)}
    schema |= {name: polars.Utf8 for name in told if name.startswith(DESCRIBED)}
    return polars.DataFrame(rows, schema=schema)


__getattr__ = instead_in(__name__)
