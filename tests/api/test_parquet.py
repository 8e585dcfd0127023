"""Trajectories in Parquet files: those that are written here, and those that ART wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice

import art
from art.errors import TrainingDataError
from art.utils.trajectory_logging import read_trajectory_groups_parquet, write_trajectory_groups_parquet

pyarrow = pytest.importorskip("pyarrow", reason="`make test-frameworks` installs it")
TOOL: Any = {"type": "function", "function": {"name": "add"}}
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CHOICE = {
    "index": 0,
    "finish_reason": "tool_calls",
    "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
    "logprobs": {"content": [{"token": "token_id:7", "logprob": -0.5, "top_logprobs": []}]},
}


def groups() -> list[art.TrajectoryGroup]:
    question: Any = {"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}
    result: Any = {"role": "tool", "tool_call_id": "1", "content": "2"}
    full = art.Trajectory(
        messages_and_choices=[question, Choice.model_validate(CHOICE), result],
        reward=0.5, metrics={"turns": 1}, metadata={"task": "sum"}, tools=[TOOL], logs=["fine"],
    )  # fmt: skip
    group = art.TrajectoryGroup([full, ValueError("no server")], metadata={"level": 2}, metrics={"m": 1.0}, logs=["l"])
    return [group, art.TrajectoryGroup([art.Trajectory(reward=1.0)])]


def test_what_is_written_is_read_back_whole(tmp_path: Path):
    written = groups()

    write_trajectory_groups_parquet(written, tmp_path / "0001.parquet")
    read = read_trajectory_groups_parquet(tmp_path / "0001.parquet")

    assert [group.model_dump() for group in read] == [group.model_dump() for group in written]


def test_a_file_without_whole_trajectories_gives_its_messages(tmp_path: Path):
    import pyarrow.parquet  # pyright: ignore[reportMissingImports]

    path = tmp_path / "0001.parquet"
    write_trajectory_groups_parquet(groups(), path)
    table = pyarrow.parquet.read_table(path).drop_columns(["group_json", "trajectory_json"])
    pyarrow.parquet.write_table(table, path)

    first, second = read_trajectory_groups_parquet(path)

    (full,) = first.trajectories
    assert [message["role"] for message in full.messages()] == ["user", "assistant", "tool"]
    assert full.messages()[1].get("tool_calls") == [CALL]
    assert (full.reward, full.metrics, full.metadata, full.tools) == (0.5, {"turns": 1}, {"task": "sum"}, [TOOL])
    assert (first.metadata, first.metrics, second.trajectories[0].reward) == ({"level": 2}, {"m": 1.0}, 1.0)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"x" * 1000])
def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path: Path, content: bytes):
    path = tmp_path / "torn.parquet"
    path.write_bytes(content)

    with pytest.raises(TrainingDataError, match=r"torn\.parquet holds no trajectories"):
        read_trajectory_groups_parquet(path)
