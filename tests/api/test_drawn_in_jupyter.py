"""Models, forks, groups and trajectories draw themselves in cells that a Jupyter kernel executes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="`make test-frameworks` installs Jupyter")
TESTS = Path(__file__).parents[1]
CELLS = {
    "": f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
import art
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from ui.story import STORY, tell

store = tell(Path(".art"), story=tuple(STORY[place] for place in (0, 1, 3)))
backend = art.LocalBackend(path=".art")
agent = ModelRef("shop", "agent-004")
""",
    "collapsed": """
model = art.TrainableModel(name="agent-004", project="shop", base_model="tiny")
model._backend = backend
model
""",
    "<b>shop/agent-004@69</b>": """
fork(ForkRequest(source=store, source_model=agent, pick=Exact(69), destination=store, model=ModelRef("shop", "again")))
""",
    "trajectories <b>2</b>": """
spoken = [{"role": "user", "content": "how are you?"}, {"role": "assistant", "content": "fine"}]
group = art.TrajectoryGroup([art.Trajectory(messages_and_choices=spoken, reward=each) for each in (0.0, 1.0)])
group
""",
    "how are you?": "next(iter(group))",
}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_what_a_cell_ends_with_draws_itself(tmp_path: Path):
    import nbformat  # pyright: ignore[reportMissingImports] - comes with nbclient

    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()])
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    drawn = {words: cell.outputs for words, cell in zip(CELLS, book.cells, strict=True) if words}

    for words, outputs in drawn.items():
        (shown,) = [output["data"] for output in outputs if output.output_type == "execute_result"]
        assert words in shown["text/html"]
        assert "<script" not in shown["text/html"]
        assert shown["text/plain"]
    assert "<svg" in drawn["collapsed"][0]["data"]["text/html"]


ROLLOUTS = """
import asyncio
import art

async def rollout(reward: float) -> art.Trajectory:
    return art.Trajectory(reward=reward)

groups = await art.gather_trajectory_groups([art.TrajectoryGroup(map(rollout, (0.0, 1.0)))], pbar_desc="asking")
"""


def test_the_bar_of_rollouts_is_one_of_the_notebook(tmp_path: Path):
    import nbformat  # pyright: ignore[reportMissingImports] - comes with nbclient

    pytest.importorskip("ipywidgets", reason="`make test-frameworks` installs it")
    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ROLLOUTS)])
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = [output["data"] for output in book.cells[0].outputs]
    [widgets] = book.metadata["widgets"].values()
    states = [each["state"] for each in widgets["state"].values()]

    assert "application/vnd.jupyter.widget-view+json" in shown
    assert [each["value"] for each in states if each["_model_name"] == "FloatProgressModel"] == [2.0]
    assert [each["value"] for each in states if "reward=0.500" in str(each.get("value"))]
