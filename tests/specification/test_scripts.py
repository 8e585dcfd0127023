"""A file for each page of ART's documentation that has a script, run as its readers run it, on a small model."""

from __future__ import annotations

import gc
import runpy
from pathlib import Path

import pytest

from small import place_in_hub_cache

SCRIPTS = Path(__file__).parent / "scripts"
NEEDS = {"ruler": "litellm", "langgraph_agent": "langchain"}
pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks' own imports


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_script_of_a_page_runs_to_its_end(
    script: str, small_model: Path, judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script in NEEDS:
        pytest.importorskip(NEEDS[script], reason="`make test-frameworks` installs its package")
    place_in_hub_cache(small_model, "OpenPipe/Qwen3-14B-Instruct")
    monkeypatch.setenv("JUDGE_URL", judge)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    gc.collect()  # LangChain leaves connections to the collector, which would complain in a later test

    (history, *_) = tmp_path.glob(".art/*/models/*/history.jsonl")
    assert history.read_text()
