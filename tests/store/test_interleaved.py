"""Between any two looks of an operation at the disk another process does its whole work: neither fails for it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .interleaved import FIRST, OTHERS

QUICK = {("page", "clear"): 25, ("push", "clear"): 25, ("overwrite", "rewind"): 30}
"""Pairs that also the quick tests try, and at which of their looks: every so many."""
PAIRS = [
    *(pytest.param(*pair, every, id=f"{'-'.join(pair)}-some") for pair, every in QUICK.items()),
    *(pytest.param(one, two, 1, id=f"{one}-{two}", marks=pytest.mark.long) for one in FIRST for two in OTHERS),
]


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "other", "every"), PAIRS)
def test_between_two_looks_of_an_operation_another_process_does_its_work(
    place: Path, first: str, other: str, every: int
):
    command = [sys.executable, "-m", "store.interleaved", first, other, str(place), str(every)]

    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
