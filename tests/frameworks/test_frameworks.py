"""Every framework's script, with the real package: its rollouts are trained on, none of them passed over."""

from __future__ import annotations

import asyncio
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import art
from small import write_small_model

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples/frameworks"
PAGES = ROOT / "docs/guides/frameworks"
PACKAGES = {
    "openai_sdk": "openai",
    "with_node": "openai",
    "with_litellm": "litellm",
    "with_langchain": "langchain_openai",
    "with_langgraph": "langchain",
    "with_pydantic_ai": "pydantic_ai",
    "with_openai_agents": "agents",
    "with_instructor": "instructor",
    "with_dspy": "dspy",
    "with_nemo_agent_toolkit": "nat",
}
pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks' own imports


@pytest.fixture(scope="module")
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose context holds what frameworks write into prompts, a token for each byte."""
    return write_small_model(tmp_path_factory.mktemp("models") / "roomy", max_position_embeddings=16384)


@pytest.mark.parametrize("script", PACKAGES)
def test_a_frameworks_rollouts_are_trained_on(
    script: str, roomy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(PACKAGES[script], reason="`make test-frameworks` installs its package")
    if script == "with_node" and not node_knows_openai():
        pytest.skip("needs Node, and `npm install openai`")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))

    training, rollout = importlib.import_module("training"), importlib.import_module(script).rollout
    result: art.TrainResult = asyncio.run(training.train("agent", rollout, base=str(roomy_model)))

    assert result.step == 1
    assert result.metrics["trajectories_skipped"] == 0
    assert result.metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


def test_every_script_is_run() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.py")} - {"training"} == set(PACKAGES)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_shows_the_script_that_runs(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"\[`examples/frameworks/([\w.]+)`\]", text)
    shown = re.findall(r"```(?:python notest|javascript)\n(.*?)```", text, re.DOTALL)

    assert shown == [(SCRIPTS / name).read_text() for name in named]
    assert shown


def node_knows_openai() -> bool:
    node = shutil.which("node")
    asked = [node or "", "-e", "require('openai')"]
    return node is not None and subprocess.run(asked, capture_output=True, check=False).returncode == 0
