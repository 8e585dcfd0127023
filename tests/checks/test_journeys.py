"""The journeys of docs/design/journeys.md stay as straight as they are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/design/journeys.md"
# Threads of a step and of a request meet as they like, so these have a little room.
MOST_RETURNS = {"Fork from S3": 15, "One training step": 46, "One chat request": 26}
HEAD = re.compile(r"^## (?P<name>.+)\n\n(?P<rooms>\d+) rooms, (?P<returns>\d+) returns\.$", re.MULTILINE)


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run([sys.executable, ROOT / "bench/journeys.py"], capture_output=True, text=True, check=True)
    return done.stdout


def test_no_journey_returns_more_often_than_it_may(printed: str):
    counted = {match["name"]: int(match["returns"]) for match in HEAD.finditer(printed)}

    assert counted.keys() == MOST_RETURNS.keys()
    assert {name: returns for name, returns in counted.items() if returns > MOST_RETURNS[name]} == {}


def test_the_page_shows_the_fork_as_it_is(printed: str):
    fork = printed.partition("## One training step")[0].strip()

    assert fork in PAGE.read_text(), "python bench/journeys.py --write"
