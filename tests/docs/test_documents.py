"""Every Python block of the README and the guides runs, in order, page by page.

A block marked ```python notest is only shown. `await` works at the top of a block, as in a notebook. The names of
the hub's models that the pages use stand for a small model here.
"""

import ast
import asyncio
import inspect
from functools import partial
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from small import place_in_hub_cache

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BASE_MODELS = ("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B", "OpenPipe/Qwen3-14B-Instruct")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Path):
    for name in BASE_MODELS:
        place_in_hub_cache(small_model, name)
    monkeypatch.chdir(tmp_path)

    _run(page)


def test_a_page_with_a_wrong_line_fails(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python notest\nraise\n```\n\n```python\nassert x == 2\n```\n")

    with pytest.raises(AssertionError) as failure:
        _run(page)

    assert str(page) in str(failure.traceback[-1].path)
    assert failure.traceback[-1].lineno + 1 == 10


def _run(page: Path) -> None:
    with asyncio.Runner() as runner:
        parser = CodeBlockParser(language="python", evaluator=partial(_evaluate, runner))
        for example in Sybil([parser]).parse(page):
            example.evaluate()


def _evaluate(runner: asyncio.Runner, example: Example) -> None:
    lines = "\n" * (example.line + example.parsed.line_offset)  # so that a traceback names the page's own line
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(lines + example.parsed, example.path, "exec", flags=flags, dont_inherit=True)
    outcome = eval(code, example.namespace)
    if inspect.iscoroutine(outcome):
        runner.run(outcome)
