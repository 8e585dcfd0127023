"""Another process that trains the same model is said, whatever machine it is on; one that ended is not."""

import logging
import os
import socket
from pathlib import Path

import pytest

from art.format.manifest import utc_now
from art.local.neighbours import say_neighbours
from art.names import ModelRef
from art.store.liveness import ENDED, RUNNING, LiveRun, run_path

MODEL = ModelRef("shop", "agent-1")


def leave_sign(root: Path, *, host: str, pid: int, word: str = RUNNING, beat: str | None = None) -> None:
    path = run_path(root, MODEL)
    path.parent.mkdir(parents=True)
    path.write_text(LiveRun(host=host, pid=pid, started=utc_now(), beat=beat or utc_now(), word=word).model_dump_json())


def said(root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING, "art"):
        say_neighbours(root, MODEL)
    return [record.getMessage() for record in caplog.records]


def test_a_process_on_another_machine_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    leave_sign(tmp_path, host="elsewhere", pid=12)

    (line,) = said(tmp_path, caplog)

    assert "shop/agent-1 is trained by process 12 on elsewhere too" in line


def test_another_process_here_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    leave_sign(tmp_path, host=socket.gethostname(), pid=os.getppid())

    assert len(said(tmp_path, caplog)) == 1


@pytest.mark.parametrize("old", ["itself", "ended", "silent for long"])
def test_what_does_not_train_now_is_not_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, old: str):
    if old == "itself":
        leave_sign(tmp_path, host=socket.gethostname(), pid=os.getpid())
    elif old == "ended":
        leave_sign(tmp_path, host="elsewhere", pid=12, word=ENDED)
    else:
        leave_sign(tmp_path, host="elsewhere", pid=12, beat="2020-01-01T00:00:00.000Z")

    assert said(tmp_path, caplog) == []


def test_a_root_that_is_not_there_yet_has_no_neighbours(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert said(tmp_path / "new/root", caplog) == []
