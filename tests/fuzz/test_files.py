"""Whatever stands in a file of a root: it is read, or refused by name, and nothing else is harmed.

`make fuzz` looks for more of the same; what it finds and what is worth keeping lies in `corpus/`, and is tried first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from . import documents
from .mutation import INPUT_BYTES
from .targets import CORPUS, TARGETS, opened

EXAMPLES = {"documents": 3000, "files": 160, "places": 60, "trained": 300, "requests": 800}
SOURCES = st.binary(min_size=INPUT_BYTES, max_size=INPUT_BYTES)
Check = Callable[[bytes], None]


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[tuple[str, Check]]:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield request.param, opened(request.param, Path(folder))


def test_what_comes_from_outside_is_read_or_refused(
    target: tuple[str, Check], record_property: Callable[[str, object], None]
):
    name, check = target
    count = 0
    # Shrinking a failure of random changes takes minutes and says little; the bytes that it prints repeat it.
    steady = settings(
        max_examples=EXAMPLES[name],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @steady
    @given(source=SOURCES)
    def every(source: bytes) -> None:
        nonlocal count
        check(source)
        count += 1

    every()

    record_property("fuzz executions", count)
    assert count >= EXAMPLES[name] * 0.9


def test_what_was_found_before_stays_mended(target: tuple[str, Check]):
    name, check = target
    found = sorted((CORPUS / name).iterdir())

    for path in found:
        check(path.read_bytes())

    assert found


def test_most_changes_make_a_document_that_is_refused():
    refused = sum(_is_refused(number.to_bytes(4, "big") * 12) for number in range(0, 2**32, 2**23))

    assert 100 < refused < 500, "changes that are never refused, or always, look for nothing"


def _is_refused(source: bytes) -> bool:
    try:
        documents.read(source)
    except documents.REFUSED:
        return True
    return False
