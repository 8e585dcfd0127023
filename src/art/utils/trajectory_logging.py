"""Groups of trajectories as text, a line each, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art.ops.recording import as_line, read_lines
from art.trajectories import TrajectoryGroup


def serialize_trajectory_groups(trajectory_groups: Iterable[TrajectoryGroup]) -> str:
    """Write groups as JSON, a line each; raises `TrainingDataError` for a value that JSON has no form for."""
    return "\n".join(map(as_line, trajectory_groups))


def deserialize_trajectory_groups(serialized: str) -> list[TrajectoryGroup]:
    """Read groups that were written as JSON, a line each; lines that a crash tore are left out."""
    return list(read_lines(serialized.encode(errors="surrogatepass").split(b"\n")))


def __getattr__(name: str) -> Any:
    if name in ("read_trajectory_groups_parquet", "write_trajectory_groups_parquet"):
        raise ImportError(
            f"There is no {name} here: artfork writes lines of JSON, with serialize_trajectory_groups. A file "
            "of ART's holds the same JSON: read its columns group_json and trajectory_json with pyarrow, and give them "
            "to art.TrajectoryGroup and art.Trajectory.model_validate_json.",
            name=__name__,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
