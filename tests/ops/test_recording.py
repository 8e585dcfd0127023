"""Trajectories as lines: what is written is read back, whatever text the model wrote."""

from pathlib import Path

import pytest

import art
from art.ops.recording import as_line, read_lines
from art.store.history import HistoryStore

# Everything that Python takes for the end of a line, and JSON does not.
LINE_ENDS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r", "\r\n", "\n"]


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_a_trajectory_with_any_line_end_in_its_text_is_read_back(end: str):
    said = f"one{end}two"
    group = art.TrajectoryGroup([art.Trajectory(messages_and_choices=[{"role": "user", "content": said}])])

    read = list(read_lines(as_line(group).encode() for _ in range(2)))

    assert [again.trajectories[0].messages() for again in read] == [[{"role": "user", "content": said}]] * 2


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_a_metric_with_any_line_end_in_its_name_is_read_back(end: str, tmp_path: Path):
    history, model = HistoryStore(tmp_path), art.ModelRef("api", "agent")

    history.append(model, 1, split="val", metrics={f"a{end}b": 1.0})
    history.append(model, 2, split="val", metrics={"reward": 2.0})

    assert [dict(entry.metrics) for entry in history.read(model)] == [{f"val/a{end}b": 1.0}, {"val/reward": 2.0}]
