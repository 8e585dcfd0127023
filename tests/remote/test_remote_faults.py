"""Every fault in every phase ends in "done", or in an error and nothing changed: `docs/reference/faults.md`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .matrix import Bench, Case, cases
from .proxy import FaultProxy
from .servers import S3Server

FAST = (
    "connection refused",
    "503 SlowDown",
    "body cut after 10 bytes",
    "one byte wrong",
    "done, but the answer is lost",
)
"""The faults that every run of the tests sends into every phase, once each."""
MAIN_PHASES = {
    ("pull", "fetch weights"),
    ("push", "put weights"),
    ("push large", "put a part"),
    ("fork there", "copy weights"),
}
"""Where every run of the tests sends every fault, once; `make test-long` goes through the whole table."""
HELD_OFF = ("503 SlowDown", "403 AccessDenied", "done, but the answer is lost")
"""What does not pass: tried again, given up, looking undone. Into the main phases they are sent always, too."""


def parameters() -> Iterator[object]:
    for case in cases():
        yield pytest.param(case, id=str(case), marks=() if in_every_run(case) else pytest.mark.long)


def in_every_run(case: Case) -> bool:
    in_main_phase = (case.operation, case.phase) in MAIN_PHASES
    if case.times > 1:
        return in_main_phase and case.fault_name in HELD_OFF
    return in_main_phase or (case.fault_name in FAST and case.operation != "push large")


@pytest.fixture(scope="module")
def bench(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with FaultProxy(moto.endpoint) as proxy:
        yield Bench(moto, proxy, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("case", list(parameters()))
def test_a_fault_ends_in_done_or_in_an_error_and_nothing_changed(
    bench: Bench, moto: S3Server, monkeypatch: pytest.MonkeyPatch, case: Case
):
    for name, value in {**moto.environment(), "AWS_ENDPOINT_URL": bench.proxy.endpoint}.items():
        monkeypatch.setenv(name, value)

    outcome = bench.run(case)

    assert outcome.problems == ()
