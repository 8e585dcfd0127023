"""The program itself: speed, exit codes, streams, colours."""

import json
import os
import resource
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from art.store.store import CheckpointStore

from .conftest import Art

COMMANDS = ("log", "show", "verify", "fork", "rewind", "rm", "gc", "push", "pull")
HELP_LIMIT_S = 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(art: Art, command: str):
    done = art(command, "--help")

    assert done.returncode == 0
    assert "--json" in done.stdout


def test_help_is_fast(program: Art):
    took_s: list[float] = []
    for _ in range(5):
        before_s = _children_s()
        program("--help")
        took_s.append(_children_s() - before_s)

    assert min(took_s) < HELP_LIMIT_S


def printed_by(program: str, store: CheckpointStore) -> str:
    """Give what a program prints in a process of its own."""
    environment = {**os.environ, "ART_ROOT": str(store.root)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def test_commands_import_neither_tensors_nor_the_client(store: CheckpointStore):
    program = (
        "import sys; from art.cli import main; sys.argv = ['art', 'log', '--graph']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', *sys.modules)"
    )

    shown, _, loaded = printed_by(program, store).partition("loaded:")
    assert "agent-1" in shown
    assert {"torch", "transformers", "peft", "openai", "obstore"}.isdisjoint(loaded.split())
    # These are for the page and `art status`.
    assert {"statistics", "art.ops.judge", "art.ops.summary"}.isdisjoint(loaded.split())
    # These are for who writes, for checkpoints of other programs, and for names that are not there.
    assert {"concurrent.futures", "art.store.stage", "art.store.foreign", "art.absent"}.isdisjoint(loaded.split())


def test_a_command_does_not_look_for_cycles_while_it_ends(store: CheckpointStore):
    program = (
        "import atexit, gc, sys; from art.cli import main; sys.argv = ['art', 'log']\n"
        # What is registered first runs last.
        "atexit.register(lambda: print('kept:', gc.get_freeze_count(), 'left:', len(gc.get_objects())))\n"
        "main()"
    )

    kept, left = (int(word) for word in printed_by(program, store).rpartition("kept: ")[2].split(" left: "))
    assert left < kept / 10


def test_the_root_may_stand_before_or_after_the_command(art: Art, store: CheckpointStore):
    before = art("--root", str(store.root), "--json", "log", root=None)
    after = art("log", "--root", str(store.root), "--json", root=None)

    assert json.loads(before.stdout) == json.loads(after.stdout)


def test_the_root_is_dot_art_by_default(art: Art, store: CheckpointStore, tmp_path: Path):
    store.root.rename(tmp_path / ".art")

    assert "agent-1" in art("log", root=None).stdout


def test_a_missing_root_is_one_line(program: Art, tmp_path: Path):
    done = program("log", root=tmp_path / "nowhere")

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"art: There is no store at {tmp_path}/nowhere;")
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_cannot_be_one_is_one_line(art: Art):
    done = art("show", "shop/../etc@5")

    assert done.returncode == 1
    assert done.stderr.startswith("art: ")
    assert "Traceback" not in done.stderr


def test_wrong_usage_exits_2(art: Art):
    assert art("log", "--no-such-option").returncode == 2
    assert art("no-such-command").returncode == 2
    assert art("show").returncode == 2


def test_no_colour_in_a_pipe_and_with_no_color(program: Art):
    plain = program("log")
    forced = program("log", FORCE_COLOR="1")
    refused = program("log", FORCE_COLOR="1", NO_COLOR="1")

    assert "\x1b[" not in plain.stdout
    assert "\x1b[36m" in forced.stdout or "\x1b[1;36m" in forced.stdout
    assert "36m" not in refused.stdout


def test_a_reader_that_goes_away_is_no_traceback(store: CheckpointStore):
    done = subprocess.run(
        ["bash", "-c", f"'{Path(sys.executable).with_name('art')}' log --json | head -c 10"],
        capture_output=True,
        text=True,
        env={**os.environ, "ART_ROOT": str(store.root)},
        check=False,
    )

    assert "Traceback" not in done.stderr


def test_ctrl_c_exits_130(store: CheckpointStore, tmp_path: Path):
    fifo = tmp_path / "root/shop/models/agent-1/history.jsonl"
    fifo.unlink()
    os.mkfifo(fifo)  # `art log` waits here until it is interrupted
    process = subprocess.Popen(
        [Path(sys.executable).with_name("art"), "log"],
        env={**os.environ, "ART_ROOT": str(store.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer = os.open(fifo, os.O_WRONLY)

    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=20)
    os.close(writer)

    assert process.returncode == 130
    assert complaint == "art: interrupted; everything is as before, or as after.\n"


def test_the_alias_is_the_same_program(tmp_path: Path):
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    alias = tmp_path / "artfork"
    alias.write_text(f"#!{sys.executable}\nimport sys; from art.cli import main; sys.exit(main())\n")
    alias.chmod(0o755)

    done = subprocess.run([alias, "--help"], capture_output=True, text=True, check=True)

    assert scripts["artfork"] == scripts["art"]
    assert done.stdout.lstrip().startswith("Usage: artfork ")


def _children_s() -> float:
    # Processor time, so that a busy machine does not count.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
