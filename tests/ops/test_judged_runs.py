"""Real runs that were written down, judged step by step again: what docs/design/judging.md says of them is so."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from art.ops.judge import State

HERE = Path(__file__).parents[2]
BENCH: dict[str, Any] = runpy.run_path(str(HERE / "bench/judging.py"))
RUNS: list[Any] = [*BENCH["seen"]("small"), *BENCH["seen"]("smollm2")]
"""Those that the thresholds were set by; the page tells what became of the others."""
STATES = {
    "rate too high": {State.COLLAPSED},
    "reward hacked": {State.HELD_OUT_FELL},
    "entropy into one token": {State.HELD_OUT_FELL},
    "sampler and trainer apart": {State.DRIFTED},
    "constant reward": {State.NO_SIGNAL, State.COLLAPSED},
}


def named(run: Any) -> str:
    return f"{run.model} {run.fault} {run.seed}"


@pytest.mark.parametrize("run", [run for run in RUNS if run.lost_at is not None], ids=named)
def test_a_run_that_is_lost_is_called_wrong_at_or_before_its_onset(run: Any):
    step, judged = run.alarm()

    assert step <= run.lost_at
    assert judged.state in STATES[run.fault]
    assert judged.last_good is not None
    assert judged.last_good < run.lost_at


def test_no_healthy_run_is_ever_called_wrong():
    healthy = [run for run in RUNS if run.fault == "healthy"]

    assert len(healthy) >= 2 * sum(run.fault != "healthy" and run.model == "small" for run in RUNS)
    assert [named(run) for run in healthy if run.alarm()] == []


def test_the_page_has_the_tables_of_these_runs():
    page = (HERE / "docs/design/judging.md").read_text()

    for model in ("small", "smollm2"):
        assert BENCH["table"](BENCH["seen"](model)) in page
    assert BENCH["table"]([run for run in BENCH["read"]("small") if run.is_unseen]) in page
