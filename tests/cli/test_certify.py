"""`art certify`: the verdict in words, and as an exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Art

SCRIPTED = Path(__file__).parents[1] / "ops/scripted.py"


def command(how: str) -> str:
    return f"{sys.executable} {SCRIPTED} {{out}} {{resume}} {how}"


def test_a_resume_that_trains_something_else_is_said_and_fails(art: Art, tmp_path: Path):
    done = art("certify", command("forgets"), "--at", "3", "--end", "6", "--work", str(tmp_path / "work"))

    assert done.returncode == 1
    assert done.stdout == (
        "differs: a resume at step 3 trains something else from step 4 on.\n"
        "  again        5 pieces the same at 3 steps\n"
        "  resumed      2 of 5 pieces differ at step 4\n"
        "  weights only 2 of 5 pieces differ at step 4\n"
        "    model.safetensors: w\n"
        "    optimizer.pt: data/0\n"
        "    loss at step 4\n"
        "    loss at step 5\n"
        "    loss at step 6\n"
    )
    assert (tmp_path / "work/resumed/checkpoint-6").is_dir()


def test_a_resume_that_continues_ends_with_0_and_leaves_nothing(art: Art):
    done = art("certify", command("counts"), "--at", "3", "--end", "6")

    assert done.returncode == 0
    assert done.stdout.startswith(
        "state exact, log differs: a resume at step 3 has the state of a run that never stopped"
    )
    assert "3 of 6 figures differ" in done.stdout


def test_a_script_that_fails_is_told_with_its_last_words(art: Art):
    done = art("certify", command("fails"), "--at", "3", "--end", "6")

    assert (done.returncode, done.stdout) == (1, "")
    assert "the reward has no server" in done.stderr


def test_a_script_that_fails_is_quoted_line_by_line(art: Art, tmp_path: Path):
    loud, quiet = tmp_path / "loud.py", tmp_path / "quiet.py"
    loud.write_text(r"print('one'); print('art: \x1b[31mtwo'); raise SystemExit(3)")
    quiet.write_text("raise SystemExit(3)")

    told, silent = (
        art("certify", f"{sys.executable} {script} {{out}} {{resume}}", "--at", "1", "--end", "2")
        for script in (loud, quiet)
    )

    assert told.stderr.splitlines()[-2:] == ["  one", r"  art: \x1b[31mtwo"]
    assert silent.stderr.splitlines()[-1] == "art: The whole run ended with status 3, and said nothing."


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_who_is_told_to_stop_leaves_no_script_that_runs_and_no_file(tmp_path: Path, name: str):
    mark, script, scratch = tmp_path / "pid", tmp_path / "slow.py", tmp_path / "scratch"
    scratch.mkdir()
    script.write_text(
        f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(f'{{os.getpid()}}\\n')\ntime.sleep(600)"
    )
    told = [
        str(Path(sys.executable).with_name("art")),
        "certify",
        f"{sys.executable} {script} {{out}} {{resume}}",
        "--at",
        "1",
        "--end",
        "2",
    ]
    number = signal.Signals[name]
    with subprocess.Popen(told, env={**os.environ, "TMPDIR": str(scratch)}, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (mark.exists() and mark.read_text().endswith("\n")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == 128 + number

    states = subprocess.run(["ps", "-o", "stat=", "-p", mark.read_text()], capture_output=True, text=True, check=False)
    # One that has ended may wait there for its parent's look.
    assert states.stdout.strip()[:1] in ("", "Z")
    assert not list(scratch.iterdir())
