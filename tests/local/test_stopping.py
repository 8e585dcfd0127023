"""SIGTERM in the middle of training: the process leaves in order, and nothing is half done."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import art
from art.local.stopping import EXIT_STATUS, GRACE_S, stop_at_sigterm
from art.store.store import CheckpointStore

REF = art.ModelRef("p", "one")
SCRIPT = Path(__file__).with_name("long_run.py")
START_S = 120


@pytest.fixture
def unhandled() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_training_leaves_at_sigterm_with_one_line_and_every_step_whole(small_model: Path, tmp_path: Path):
    root, said = tmp_path / "root", tmp_path / "said"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(SCRIPT), str(small_model), str(root), "100000"]
    store = CheckpointStore(root)
    with said.open("wb") as errors, subprocess.Popen(command, stderr=errors, env=environment) as process:
        deadline = time.monotonic() + START_S
        while len(store.steps(REF)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)

        process.terminate()
        process.wait(START_S)

    assert process.returncode == EXIT_STATUS
    assert [line for line in said.read_text().splitlines() if "SIGTERM" in line or "Traceback" in line] == [
        f"art: SIGTERM: stopping; a running step has {GRACE_S} seconds to finish. What was committed stays."
    ]
    assert len(store.steps(REF)) >= 2
    for step in store.steps(REF):
        store.verify(store.open(REF.at(step)))


@pytest.mark.usefixtures("unhandled")
def test_a_script_keeps_its_own_handler():
    def own(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)

    stop_at_sigterm()

    assert signal.getsignal(signal.SIGTERM) is own


@pytest.mark.usefixtures("unhandled")
def test_only_the_main_thread_installs_a_handler():
    thread = threading.Thread(target=stop_at_sigterm)
    thread.start()
    thread.join()
    found_in_thread = signal.getsignal(signal.SIGTERM)

    stop_at_sigterm()

    assert found_in_thread is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
