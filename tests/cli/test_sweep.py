"""`art sweep` as a user runs it: plans, scripts that see their branch, failures, and `art diff --paired`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import MAIN, Art

START_S = 60
SCRIPT = """
import json, os, sys
print(os.environ["ART_PROJECT"], os.environ["ART_MODEL"], json.loads(os.environ["ART_SETTINGS"]), sys.argv[1:])
if "fail" in sys.argv:
    raise RuntimeError("no card")
"""
NAMES = [f"agent-1-100-learning_rate-{rate}-prompt-short" for rate in ("1e-05", "5e-06")]
COMMAND = ("sweep", "shop/agent-1@100", "--set", "learning_rate=1e-5,5e-6", "--set", "prompt=short")


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text(SCRIPT)
    return str(tmp_path / "train.py")


def test_a_dry_run_says_which_branches_there_would_be_and_makes_none(art: Art, store: CheckpointStore, script: str):
    done = art(*COMMAND, "--script", script, "--dry-run")
    told = json.loads(art(*COMMAND, "--script", script, "--dry-run", "--json").stdout)

    assert [name in done.stdout for name in NAMES] == [True, True]
    assert "learning_rate=5e-06, prompt=short" in done.stdout
    assert [branch["model"] for branch in told["branches"]] == [f"shop/{name}" for name in NAMES]
    assert not any(store.steps(ModelRef("shop", name)) for name in NAMES)


def test_each_script_sees_its_branch_and_the_table_tells_how_it_went(
    art: Art, store: CheckpointStore, script: str, tmp_path: Path
):
    logs = tmp_path / "logs"

    done = art(
        *COMMAND, "--script", script, "--workers", "2", "--logs", str(logs), "--", "{name}", "--lr={learning_rate}"
    )

    assert done.returncode == 0, done.stderr
    assert [store.steps(ModelRef("shop", name)) for name in NAMES] == [[100]] * 2
    assert all(f"✓ {name}" in done.stdout for name in NAMES)
    assert (logs / f"{NAMES[1]}.log").read_text() == (
        f"shop {NAMES[1]} {{'learning_rate': 5e-06, 'prompt': 'short'}} ['{NAMES[1]}', '--lr=5e-06']\n"
    )


def test_a_script_that_fails_is_told_and_the_program_fails(art: Art, script: str):
    done = art(*COMMAND, "--script", script, "--json", "--", "fail")

    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert [branch["outcome"] for branch in told["branches"]] == ["failed", "failed"]
    assert told["branches"][0]["problem"] == "Its worker ended with exit status 1: RuntimeError: no card"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--set", "learning_rate"), "sets nothing"),
        (("--set", "learning_rate=1e-5", "--set", "learning_rate=5e-6"), "learning_rate is given twice"),
        (("--set", "learning_rat=1"), "Did you mean learning_rate"),
        (("--set", "beta=0.1", "--executor", "slurm"), "slurm is no executor"),
    ],
)
def test_what_cannot_be_swept_is_refused(art: Art, script: str, arguments: tuple[str, ...], problem: str):
    done = art("sweep", str(MAIN), "--script", script, *arguments)

    assert done.returncode in (1, 2)
    assert problem in done.stderr


def test_paired_refuses_what_is_no_twin(art: Art):
    done = art("diff", "shop/agent-1", "shop/agent-2", "--paired")

    assert done.returncode == 1
    assert "are no twins" in done.stderr


WAITING = """
import os, pathlib, signal, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(os.environ["MARKS"], str(os.getpid())).touch()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "hearing", "status", "line"),
    [
        (signal.SIGTERM, "ready", 143, "art: SIGTERM: all branches were stopped. What was committed stays;"),
        (signal.SIGHUP, "ready", 129, "art: SIGHUP: all branches were stopped. What was committed stays;"),
        (signal.SIGINT, "ready", 130, "art: interrupted; everything is as before, or as after."),
        pytest.param(signal.SIGKILL, "deaf", -signal.SIGKILL, "", marks=pytest.mark.slow),
    ],
)
def test_a_sweep_that_is_told_to_stop_leaves_nothing_running(
    store: CheckpointStore, tmp_path: Path, number: signal.Signals, hearing: str, status: int, line: str
):
    (tmp_path / "train.py").write_text(WAITING)
    (marks := tmp_path / "marks").mkdir()
    command = [Path(sys.executable).with_name("art"), *COMMAND, "--script", "train.py", "--workers", "2", "--", hearing]
    environment = {**os.environ, "ART_ROOT": str(store.root), "MARKS": str(marks)}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as sweep:
        wait_until(lambda: len(list(marks.iterdir())) == 2)

        sweep.send_signal(number)
        _, said = sweep.communicate(timeout=START_S)

    assert sweep.returncode == status
    assert said.startswith(line)
    assert said.count("\n") == (1 if line else 0)
    if number is signal.SIGKILL:
        # Its workers have their grace from then on.
        wait_until(lambda: not any(map(is_running, marks.iterdir())))
    assert not any(map(is_running, marks.iterdir()))


def wait_until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(mark: Path) -> bool:
    try:
        return Path("/proc", mark.name, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
