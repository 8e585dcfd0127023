"""A clock that is set back, or was wrong for a while, loses nothing and lets nothing go."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from art.format.manifest import in_utc
from art.format.pins import pin_line, read_pins
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.liveness import PATIENCE_S, RUNNING, LiveRun
from art.store.pins import pins_of
from art.store.store import CheckpointStore

from .conftest import write_run

MAIN = ModelRef("shop", "main")
LATER = "2040-01-01T00:00:00.000Z"
DIGEST = "a" * 64
FAKETIME = shutil.which("faketime")
ACTS = """
import sys
from pathlib import Path
from art.names import ModelRef
from art.ops.garbage import collect_garbage
from art.ops.keep import policies_of
from art.ops.retention import plan_retention
from art.store.history import HistoryStore
from art.store.pins import set_pin
from art.store.store import CheckpointStore
from store.conftest import write_checkpoint

store, main, pinned = CheckpointStore(sys.argv[1]), ModelRef("shop", "main"), sys.argv[2] == "pinned"
newest = store.newest(main)
written = write_checkpoint(store, main, newest.ref.step + 1 if newest else 1, parent=newest)
first = store.open(main.at(1))
set_pin(store.root, first.ref, first.digest, pinned=pinned)
HistoryStore(store.root).append_missing(main, [(written.ref.step - 1, "train", written.manifest.metrics)])
with store.stage(main.at(9)):
    assert not collect_garbage(store).debris
print(*plan_retention(store, [main], policies_of("younger:7d")).removal.refs)
"""


def test_the_last_pin_counts_whatever_the_clock_said_before():
    lines = [pin_line(1, DIGEST, pinned=True).replace(in_year(pin_line(1, DIGEST, pinned=True)), LATER.encode())]
    for pinned in (False, True, False):
        lines.append(pin_line(1, DIGEST, pinned=pinned, lines=lines))

        assert read_pins(lines).holds(1, DIGEST) is pinned
        assert read_pins(reversed(lines)).holds(1, DIGEST) is pinned


def in_year(line: bytes) -> bytes:
    return line.rpartition(b'"time":"')[2].removesuffix(b'"}')


def test_a_pin_at_the_end_of_all_times_can_be_taken_out():
    end = pin_line(1, DIGEST, pinned=True)
    end = end.replace(in_year(end), b"9999-12-31T23:59:59.999Z")

    lines = [end, pin_line(1, DIGEST, pinned=False, lines=[end])]

    assert not read_pins(lines).holds(1, DIGEST)


@pytest.mark.parametrize("ahead_s", [-PATIENCE_S - 1, PATIENCE_S + 1, 10 * 365 * 86400])
def test_a_sign_of_life_from_another_time_is_none(ahead_s: float):
    now = datetime.now(UTC)
    beat = in_utc(now + timedelta(seconds=ahead_s))
    run = LiveRun(host=f"not-{socket.gethostname()}", pid=1, started=beat, beat=beat, word=RUNNING)

    assert not run.is_alive(now)


def test_metrics_that_a_clock_dates_before_their_checkpoint_are_written_once(tmp_path: Path):
    store, history = CheckpointStore(tmp_path), HistoryStore(tmp_path)
    (checkpoint,) = write_run(store, MAIN, 1)
    path = tmp_path / "shop/models/main/history.jsonl"
    history.append(MAIN, 0, split="train", metrics=checkpoint.manifest.metrics)
    path.write_text(path.read_text().replace(history.read(MAIN)[0].time, "2001-01-01T00:00:00.000Z"))

    history.append_missing(MAIN, [(0, "train", checkpoint.manifest.metrics)])

    assert len(history.read(MAIN)) == 1


@pytest.mark.skipif(FAKETIME is None, reason="needs faketime: apt install faketime")
def test_years_ahead_and_years_back_leave_a_sound_root(tmp_path: Path):
    doomed = [
        act_at(time, tmp_path, pinned=pinned)
        for time, pinned in (("2031-01-01", True), ("2020-01-01", False), ("2026-06-01", True))
    ]

    store = CheckpointStore(tmp_path)
    assert doomed == ["", "", ""]
    assert store.steps(MAIN) == [1, 2, 3]
    assert pins_of(tmp_path, MAIN).holds(1, store.open(MAIN.at(1)).digest)
    assert len(HistoryStore(tmp_path).read(MAIN)) == 3
    assert store.debris() == []


def act_at(time: str, root: Path, *, pinned: bool) -> str:
    """Commit, pin, write down, collect and plan in a process whose clock says another day."""
    assert FAKETIME is not None
    command = [FAKETIME, f"{time} 12:00:00", sys.executable, "-c", ACTS, str(root), "pinned" if pinned else "not"]
    tests = str(Path(__file__).parents[1])
    paths = os.pathsep.join([tests, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
