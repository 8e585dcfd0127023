"""The page of what was tried: its figures are those of the last run, and every test that it names is there."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("reliability", ROOT / "bench/reliability.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_figures_are_those_of_the_last_run(script: ModuleType):
    record = json.loads(script.FIGURES.read_text())

    assert record["parts"].keys() == script.PARTS.keys()
    assert script.with_table(PAGE, record) == PAGE
    assert all(figures for figures in record["parts"].values())


def test_every_part_runs_tests_that_are_there(script: ModuleType):
    assert all((ROOT / path).is_file() for paths in script.PARTS.values() for path in paths)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda value: str(value).rpartition("/")[2] or "all")
def test_every_test_that_the_page_names_is_there(path: str, name: str):
    text = (ROOT / path).read_text()

    assert not name or f"def {name}(" in text


def test_figures_are_added_up_from_a_report(script: ModuleType, tmp_path: Path):
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase><properties><property name="races" value="8"/></properties></testcase>'
        '<testcase><properties><property name="races" value="4"/></properties></testcase>'
        "<testcase><skipped/></testcase>"
        "</testsuite></testsuites>"
    )

    assert script.read(report, "races") == {"races": 12}
    assert script.read(report, "hostile") == {"races": 12, script.HOSTILE: 2}
