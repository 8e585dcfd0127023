"""Groups of trajectories as text, a line each, and back."""

from __future__ import annotations

from collections.abc import Iterable

from art.ops.recording import as_line, read_lines
from art.trajectories import TrajectoryGroup


def serialize_trajectory_groups(trajectory_groups: Iterable[TrajectoryGroup]) -> str:
    """Write groups as JSON, a line each; raises `TrainingDataError` for a value that JSON has no form for."""
    return "\n".join(map(as_line, trajectory_groups))


def deserialize_trajectory_groups(serialized: str) -> list[TrajectoryGroup]:
    """Read groups that were written as JSON, a line each; lines that a crash tore are left out."""
    return list(read_lines(serialized.encode(errors="surrogatepass").split(b"\n")))
