"""Every Python block of every page runs, in order, page by page, in a folder that holds the root of the pages.

`await` works at the top of a block, as in a notebook. The names of the hub's models that the pages use stand for a
small model here.
"""

import ast
import asyncio
import inspect
import shutil
from functools import partial
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from art.branches import Report
from small import place_in_hub_cache

from .shop import make_shop

ROOT = Path(__file__).parents[2]
# `make test-frameworks` runs those pages, each with its framework.
FRAMEWORKS = ROOT / "docs/guides/frameworks"
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "```python" in page.read_text() and page.parent != FRAMEWORKS
]
BASE_MODELS = ("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B", "OpenPipe/Qwen3-14B-Instruct")


@pytest.fixture(scope="module")
def shop(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in BASE_MODELS:
        place_in_hub_cache(small_model, name)
    root = tmp_path_factory.mktemp("shop") / ".art"
    make_shop(root, "Qwen/Qwen3-0.6B")
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(shop, tmp_path / ".art")
    monkeypatch.chdir(tmp_path)

    _run(page)


def test_no_block_of_a_page_is_only_shown():
    assert [page.name for page in PAGES if "```python notest" in page.read_text()] == []


def test_a_page_with_a_wrong_line_fails(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```json\n{}\n```\n\n```python\nassert x == 2\n```\n")

    with pytest.raises(AssertionError) as failure:
        _run(page)

    assert str(page) in str(failure.traceback[-1].path)
    assert failure.traceback[-1].lineno + 1 == 10


def _run(page: Path) -> None:
    with asyncio.Runner() as runner:
        parser = CodeBlockParser(language="python", evaluator=partial(_evaluate, runner))
        for example in Sybil([parser]).parse(page):
            example.evaluate()
            # A branch that fails does not stop the page: its error is in the report.
            reports = [value for value in example.namespace.values() if isinstance(value, Report)]
            assert [str(report) for report in reports if report.failed] == []


def _evaluate(runner: asyncio.Runner, example: Example) -> None:
    lines = "\n" * (example.line + example.parsed.line_offset)  # so that a traceback names the page's own line
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(lines + example.parsed, example.path, "exec", flags=flags, dont_inherit=True)
    outcome = eval(code, example.namespace)
    if inspect.iscoroutine(outcome):
        runner.run(outcome)
