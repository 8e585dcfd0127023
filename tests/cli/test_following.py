"""`art status --follow`: what is written while it runs is said, until Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from art.cli import following
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import MAIN

MAIN_OF_PROGRAM = "from art.cli import main; main()"


@contextmanager
def followed(store: CheckpointStore, *words: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", MAIN_OF_PROGRAM, "--root", str(store.root), "status", "--follow", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, "COLUMNS": "200"}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_step_that_is_written_is_an_event_and_a_new_state(store: CheckpointStore):
    with followed(store, "--json") as process:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        HistoryStore(store.root).append(MAIN, 150, split="train", metrics={"reward": 0.25})
        entry, after = (json.loads(process.stdout.readline()) for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert (before["event"], entry["event"], after["event"]) == ("status", "entry", "status")
    assert (entry["model"], entry["step"], entry["metrics"]) == (str(MAIN), 150, {"train/reward": 0.25})
    assert after["cost"]["steps"] >= before["cost"]["steps"]
    assert "Traceback" not in said
    assert process.returncode == 130


def test_what_has_not_changed_is_not_said_again(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(following, "LOOKS", 2)
    states = following.news(store)
    first, _, before = next(states)
    later = threading.Timer(
        0.5, HistoryStore(store.root).append, (MAIN, 150), {"split": "train", "metrics": {"reward": 0.2}}
    )

    later.start()
    news = [next(states)]
    if not news[0][0].entries:
        # What was written between a look and the reading behind it is in the state already.
        news.append(next(states))

    assert (len(first.entries), len(news[-1][0].entries)) == (0, 1)
    assert len(news) == 1 or {**news[0][2], "now": None} != {**before, "now": None}


@pytest.mark.slow
def test_words_come_again_after_a_change(store: CheckpointStore):
    with followed(store) as process:
        assert process.stdout is not None
        first = list(iter(process.stdout.readline, "\n"))
        HistoryStore(store.root).append(MAIN, 151, split="train", metrics={"reward": 0.25})
        second = list(iter(process.stdout.readline, "\n"))

    assert any("agent-1" in line for line in first)
    assert first != second
