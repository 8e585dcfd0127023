"""Groups of trajectories as text, a line each, or as a Parquet file, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from art.absent import instead_in
from art.errors import TrainingDataError
from art.ops.recording import as_json, as_line, read_lines
from art.trajectories import Trajectory, TrajectoryGroup

MESSAGE = ("role", "content", "tool_calls", "tool_call_id", "trainable")
COLUMNS = (
    "group_index", "group_metadata", "group_metrics", "group_logs", "reward", "metrics", "metadata", "tools", "logs",
    "messages", "group_json", "trajectory_json",
)  # fmt: skip


def serialize_trajectory_groups(trajectory_groups: Iterable[TrajectoryGroup]) -> str:
    """Write groups as JSON, a line each; raises `TrainingDataError` for a value that JSON has no form for."""
    return "\n".join(map(as_line, trajectory_groups))


def deserialize_trajectory_groups(serialized: str) -> list[TrajectoryGroup]:
    """Read groups that were written as JSON, a line each; lines that a crash tore are left out."""
    return list(read_lines(serialized.encode(errors="surrogatepass").split(b"\n")))


def write_trajectory_groups_parquet(trajectory_groups: Iterable[TrajectoryGroup], path: str | Path) -> None:
    """Write a row for each trajectory, with ART's columns, and the whole of it as JSON, so that nothing is lost."""
    arrow, parquet = _pyarrow()
    rows = [row for number, group in enumerate(trajectory_groups) for row in _rows(group, number)]
    message = arrow.struct([(name, arrow.bool_() if name == "trainable" else arrow.string()) for name in MESSAGE])
    types = {"group_index": arrow.int64(), "reward": arrow.float64(), "messages": arrow.list_(message)}
    types |= dict.fromkeys(("group_logs", "logs"), arrow.list_(arrow.string()))
    schema = arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def read_trajectory_groups_parquet(path: str | Path) -> list[TrajectoryGroup]:
    """Read the groups of such a file, or of one that ART wrote: without whole trajectories it has messages only."""
    _, parquet = _pyarrow()
    groups: dict[int, TrajectoryGroup] = {}
    try:
        for row in parquet.ParquetFile(path).read().to_pylist():
            group = groups.setdefault(row.get("group_index") or 0, _group(row))
            group.trajectories.append(_trajectory(row))
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingDataError(f"{path} holds no trajectories that can be read: {error}") from error
    return [groups[number] for number in sorted(groups)]


def _rows(group: TrajectoryGroup, number: int) -> Iterator[dict[str, Any]]:
    about = {"group_index": number, "group_logs": group.logs}
    about |= {f"group_{name}": as_json(getattr(group, name)) for name in ("metadata", "metrics")}
    about["group_json"] = as_json(group.model_copy(update={"trajectories": []}))
    for trajectory in group.trajectories:
        shown = trajectory.for_logging()
        told = {name: as_json(shown[name]) for name in ("metrics", "metadata", "tools") if shown[name]}
        messages = [{name: _cell(message.get(name)) for name in MESSAGE} for message in shown["messages"]]
        whole = {"messages": messages, "trajectory_json": as_json(trajectory)}
        yield {**about, **told, **whole, "reward": trajectory.reward, "logs": trajectory.logs}


def _cell(value: Any) -> str | bool | None:
    return value if value is None or isinstance(value, str | bool) else as_json(value)


def _group(row: Mapping[str, Any]) -> TrajectoryGroup:
    if row.get("group_json"):
        return TrajectoryGroup.model_validate_json(row["group_json"])
    fields = {name: _json(row.get(f"group_{name}")) or {} for name in ("metadata", "metrics")}
    return TrajectoryGroup([], **fields, logs=row.get("group_logs") or [])


def _trajectory(row: Mapping[str, Any]) -> Trajectory:
    if row.get("trajectory_json"):
        return Trajectory.model_validate_json(row["trajectory_json"])
    messages = [_message(message) for message in row.get("messages") or []]
    fields = {name: _json(row.get(name)) for name in ("metrics", "metadata", "tools")}
    fields = {name: value for name, value in fields.items() if value is not None}
    return Trajectory(messages_and_choices=messages, reward=row["reward"], logs=row.get("logs") or [], **fields)


def _message(cells: Mapping[str, Any]) -> Any:
    calls = {"tool_calls": _json(cells["tool_calls"])} if cells.get("tool_calls") else {}
    answered = {"tool_call_id": cells["tool_call_id"]} if cells.get("tool_call_id") else {}
    return {"role": cells["role"], "content": cells["content"], **calls, **answered}


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports] - a user's package
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("Parquet files are read and written with pyarrow: pip install pyarrow") from None
    return pyarrow, pyarrow.parquet


__getattr__ = instead_in(__name__)
