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
"""The faults that every run of the tests goes through, once each; the whole table is slow."""


def parameters() -> Iterator[object]:
    for case in cases():
        fast = case.fault_name in FAST and case.times == 1 and case.operation != "push large"
        yield pytest.param(case, id=str(case), marks=() if fast else pytest.mark.slow)


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
