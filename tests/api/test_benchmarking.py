"""What models earned, as a table and as charts, from the trajectories that `log` and ART wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import art
from art.errors import ConfigurationError
from art.utils.benchmarking.charts import percentage_comparison_bar_chart, training_progress_chart
from art.utils.benchmarking.load_trajectories import load_trajectories
from art.utils.benchmarking.types import BenchmarkModelKey
from art.utils.trajectory_logging import write_trajectory_groups_parquet

pytest.importorskip("polars", reason="`make test-frameworks` installs it")
pytest.importorskip("pyarrow", reason="`make test-frameworks` installs it")
pyplot = pytest.importorskip("matplotlib.pyplot", reason="`make test-frameworks` installs Matplotlib")
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def won(share: float, **fields: Any) -> art.TrajectoryGroup:
    turns: Any = [{"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    trajectories = [art.Trajectory(messages_and_choices=turns, metrics={"won": value}) for value in (share, share)]
    return art.TrajectoryGroup(trajectories, **fields)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model of two steps, one that was asked once, and one that ART wrote of."""

    async def log() -> None:
        trained, asked = (art.Model(name=name, project="game", base_path=str(tmp_path)) for name in ("agent", "gpt"))
        await trained.log([won(0.25, metadata={"board": 7}, metrics={"size": 3})], step=1)
        await trained.log([won(0.75)], step=2)
        await trained.log([won(0.0)], step=2, split="train")
        await asked.log([won(0.5)], step=0)

    asyncio.run(log())
    theirs = tmp_path / "game/models/theirs/trajectories/val"
    theirs.mkdir(parents=True)
    write_trajectory_groups_parquet([won(0.1)], theirs / "0004.parquet")
    (theirs / "notes.txt").write_text("not of ours")
    return tmp_path


@pytest.fixture(autouse=True)
def close_figures():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def load(root: Path, *models: str) -> Any:
    return asyncio.run(load_trajectories(project_name="game", models=models or None, art_path=str(root)))


def test_every_trajectory_is_a_row_with_its_metrics_and_those_of_its_group(root: Path):
    rows = load(root).to_dicts()

    places = [(row["model"], row["split"], row["step"], row["group_number"]) for row in rows[::2]]
    expected = [("agent", "train", 2, 1), ("agent", "val", 1, 2), ("agent", "val", 2, 3)]
    assert places == [*expected, ("gpt", "val", 0, 4), ("theirs", "val", 4, 5)]
    first = rows[2]
    assert (first["metric_won"], first["reward"], first["logs"]) == (0.25, 0.0, [])
    assert (first["group_metric_size"], first["group_metadata_board"], rows[4]["group_metric_size"]) == (3.0, "7", None)
    assert first["messages"][1]["tool_calls"] == [{"function": {"name": "add", "arguments": "{}"}}]


def test_models_that_are_named_and_projects_that_are_not_there(root: Path):
    assert set(load(root, "gpt")["model"]) == {"gpt"}
    assert load(root / "nothing").height == 0


def test_a_line_goes_over_the_steps_and_a_model_of_one_step_is_level(root: Path):
    keys = [BenchmarkModelKey("agent", "Ours", None), "gpt"]

    figure = training_progress_chart(load(root), "won", models=keys, title="Games", y_label="share", perfect_score=1.0)

    ours, gpt, perfect = figure.axes[0].lines
    assert (ours.get_label(), list(ours.get_xdata()), list(ours.get_ydata())) == ("Ours", [1, 2], [0.25, 0.75])
    assert (gpt.get_label(), list(gpt.get_xdata()), list(gpt.get_ydata())) == ("gpt", [0, 2], [0.5, 0.5])
    assert set(perfect.get_ydata()) == {1.0}
    assert figure.axes[0].get_title() == "Games"


def test_a_bar_shows_the_first_step_and_what_was_gained(root: Path):
    figure = percentage_comparison_bar_chart(load(root), "won", models=["agent", "gpt"])

    assert [bar.get_height() for bar in figure.axes[0].patches] == [25.0, 50.0, 50.0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["75%", "50%"]
    exact = percentage_comparison_bar_chart(load(root), "won", models=["agent"], num_decimals=1)
    assert [text.get_text() for text in exact.axes[0].texts] == ["75.0%"]


def test_every_model_is_shown_where_none_is_named(root: Path):
    labels = [line.get_label() for line in training_progress_chart(load(root), "won").axes[0].lines]

    assert labels == ["agent", "gpt", "theirs"]


@pytest.mark.parametrize(("metric", "models"), [("wins", None), ("won", ["nobody"])])
def test_nothing_to_draw_is_named(root: Path, metric: str, models: Any):
    with pytest.raises(ConfigurationError, match=f"the metric '{metric}'"):
        training_progress_chart(load(root), metric, models=models)
