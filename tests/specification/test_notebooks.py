"""Notebooks that call what ART's published ones call, executed by a Jupyter kernel, on a small model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from small import place_in_hub_cache

nbclient = pytest.importorskip("nbclient", reason="`make test-frameworks` installs Jupyter")
for package in ("weave", "polars", "matplotlib"):
    pytest.importorskip(package, reason="`make test-frameworks` installs it")

NOTEBOOKS = Path(__file__).parent / "notebooks"
REACHED = {
    "guessing_game": 3,
    "puzzles": 2,
    "searching_mail": 2,
    "self_play": 2,
    "sliding_numbers": 2,
    "tools_and_a_judge": 3,
    "tools_of_a_server": 2,
}
# Kernels are processes of their own: on a machine that is busy with others they wait for one another.
CELL_S, NOTEBOOK_S = 600, 1200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(NOTEBOOK_S), pytest.mark.filterwarnings("ignore")]


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == set(REACHED)


@pytest.mark.parametrize("notebook", REACHED)
def test_a_notebook_runs_to_its_end(
    notebook: str, small_model: Path, judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_in_hub_cache(small_model, "OpenPipe/Qwen3-14B-Instruct")
    monkeypatch.setenv("JUDGE_URL", judge)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    said = _execute(NOTEBOOKS / f"{notebook}.py", tmp_path)

    assert f"reached {REACHED[notebook]} " in said


def _execute(path: Path, folder: Path) -> str:
    """Run the cells in a kernel of their own and give what they wrote; an error of a cell is raised here."""
    import nbformat  # pyright: ignore[reportMissingImports] - comes with nbclient

    cells = re.split(r"^# %%.*\n", path.read_text(), flags=re.MULTILINE)
    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells if cell.strip()])
    client = nbclient.NotebookClient(book, timeout=CELL_S, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return "".join(output.get("text", "") for cell in book.cells for output in cell.outputs)
