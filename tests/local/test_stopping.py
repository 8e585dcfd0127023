"""A process that is told to stop while it trains leaves in order: nothing is half done, and nothing goes on."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from art.local.interrupted import LINE
from art.local.stopping import GRACE_S, SIGNALS, stop_at_signals
from art.store.store import CheckpointStore
from warm import WarmProcess, WarmServer

SCRIPT = Path(__file__).with_name("stopped_run.py")
START_S = 180
SLACK_S = 10
"""Of a busy machine, beyond the grace."""
STOPS = [("guard", "SIGHUP"), ("sft", "SIGTERM"), ("ranks", "SIGTERM"), ("branches", "SIGTERM")]
MORE_STOPS = [("guard", "SIGTERM"), ("ranks", "SIGINT"), ("branches", "SIGINT")]


@pytest.fixture
def unhandled() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def line_of(number: signal.Signals) -> str:
    if number is signal.SIGINT:
        return LINE
    return f"art: {number.name}: stopping; a running step has {GRACE_S} seconds to finish. What was committed stays."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [*STOPS, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_STOPS)]
)
def test_training_that_is_told_to_stop_leaves_with_one_line_and_every_step_whole(
    small_model: Path, tmp_path: Path, warm: WarmServer, kind: str, name: str
):
    number = signal.Signals[name]
    root = tmp_path / "root"
    root.mkdir()
    arguments = [kind, small_model, root]
    if kind == "branches":
        assert warm.run(SCRIPT, *arguments).returncode == 0
        arguments.append("again")
    process = warm.start(SCRIPT, *arguments)
    try:
        wait_until(lambda: len(list(root.glob("ready-*"))) == (2 if kind == "branches" else 1), process)
        running = descendants(process.pid)

        process.send_signal(number)
        process.wait(GRACE_S + SLACK_S)
    finally:
        process.kill()

    assert process.returncode == (-number if number is signal.SIGINT else 128 + number)
    assert process.stderr == f"{line_of(number)}\n"
    assert bool(running) == (kind in ("ranks", "branches"))
    wait_until(lambda: not any(map(is_running, running)))
    store = CheckpointStore(root)
    for model in store.models():
        for step in store.steps(model):
            store.verify(store.open(model.at(step)))
    assert not store.debris() or kind == "sft"


def wait_until(happens: Callable[[], bool], process: WarmProcess | None = None) -> None:
    deadline = time.monotonic() + (START_S if process else SLACK_S)
    while not happens():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for listing in children for child in listing.read_text().split()]
    return [*found, *(each for child in found for each in descendants(child))]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("unhandled")
def test_a_script_keeps_its_own_handler():
    def own(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)

    stop_at_signals()

    assert signal.getsignal(signal.SIGTERM) is own
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL


@pytest.mark.usefixtures("unhandled")
def test_what_nohup_passes_over_is_passed_over():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    stop_at_signals()

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("unhandled")
def test_only_the_main_thread_installs_a_handler():
    thread = threading.Thread(target=stop_at_signals)
    thread.start()
    thread.join()
    found_in_thread = signal.getsignal(signal.SIGTERM)

    stop_at_signals()

    assert found_in_thread is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
