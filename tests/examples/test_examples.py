"""The example scripts run whole: with a tiny model in seconds, with the real one they reach their point.

What a tiny random model says earns nothing, so there the claims are about steps, forks and restarts.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import art
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from warm import WarmProcess, WarmServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Examples:
    """Starts an example in a folder of its own, on a model."""

    warm: WarmServer
    base_model: Path
    folder: Path

    def start(self, name: str) -> WarmProcess:
        return self.warm.start(EXAMPLES / f"{name}.py", self.base_model, cwd=self.folder)

    def run(self, name: str) -> str:
        """Run one to its end; gives what it printed."""
        process = self.start(name)
        assert process.wait() == 0, process.stderr
        return process.stdout


@pytest.fixture
def examples(warm: WarmServer, small_model: Path, tmp_path: Path) -> Examples:
    return Examples(warm, small_model, tmp_path)


def run_on_all_cores(name: str, base_model: Path, folder: Path) -> str:
    """Run an example as a user does, on a real model; gives what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(base_model)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def steps(root: Path, name: str) -> list[int]:
    return CheckpointStore(root).steps(art.ModelRef("examples", name))


def test_fork_and_continue_forks_at_the_step_and_can_be_run_again(examples: Examples, tmp_path: Path):
    first, second = examples.run("fork_and_continue"), examples.run("fork_and_continue")

    root = tmp_path / "demo-out" / "fork-and-continue"
    assert steps(root, "maybe-base") == [1, 2, 3, 4, 5, 6]
    assert steps(root, "maybe-low-lr") == [3, 4, 5, 6]
    assert "maybe-low-lr@5: reward 0.00, then a step of 0.0002" in first
    assert "a step of" not in second
    assert "maybe-low-lr stands at step 6" in second


@pytest.mark.long
def test_ranks_go_on_from_one_process_with_its_files(examples: Examples, tmp_path: Path):
    said = examples.run("on_ranks")

    root = tmp_path / "demo-out" / "on-ranks"
    assert [steps(root, name) for name in ("trunk", "one-process", "two-ranks")] == [[1], [1, 2], [1, 2]]
    assert re.findall(r"safetensors: (.*)", said) == ["the same", "the same"]


def test_branches_part_at_one_checkpoint(examples: Examples, tmp_path: Path):
    said = examples.run("branches")

    root = tmp_path / "demo-out" / "branches"
    names = ["lr-5e-05", "lr-0.0005", "lr-0.02"]
    assert steps(root, "trunk") == [1, 2]
    assert [steps(root, name) for name in names] == [[2, 3, 4, 5]] * 3
    assert all(f"│ {name}" in said for name in names)


def test_a_sweep_runs_its_script_for_each_learning_rate(examples: Examples, tmp_path: Path):
    said = examples.run("sweep")

    root = tmp_path / "demo-out" / "sweep"
    names = [f"trunk-2-learning_rate-{rate}" for rate in ("5e-05", "0.0005")]
    assert [steps(root, name) for name in names] == [[2, 3, 4]] * 2
    assert all(name in said for name in names)


def test_a_merge_has_both_branches_for_parents(examples: Examples, tmp_path: Path):
    said = examples.run("merge")

    root = tmp_path / "demo-out" / "merge"
    assert [steps(root, name) for name in ("slow", "fast", "both")] == [[2, 3, 4], [2, 3, 4], [4]]
    hop = CheckpointStore(root).open(art.ModelRef("examples", "both").at(4)).manifest.ancestry[-1]
    assert hop.merge is not None
    assert (hop.model, hop.merge.other.model) == ("slow", "fast")
    assert re.search(r"slow: reward [\d.]+, fast: reward [\d.]+, both: reward [\d.]+", said)


def test_the_calculator_agent_trains_on_its_turns(examples: Examples, tmp_path: Path):
    said = examples.run("calculator_agent")

    assert steps(tmp_path / "demo-out" / "calculator", "calculator") == [1, 2, 3, 4, 5]
    assert "On sums it never saw: reward 0.00 before, 0.00 after" in said


def test_resume_goes_on_after_a_kill_with_what_would_have_come_next(examples: Examples, tmp_path: Path):
    root, ref = tmp_path / "demo-out" / "resume", art.ModelRef("examples", "resumable")
    killed = examples.start("resume")
    while not steps(root, ref.name):
        time.sleep(0.005)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    reached = steps(root, ref.name)[-1]

    said = examples.run("resume")

    assert f"goes on after step {reached}; its state is {{'epoch': 0, 'seen': {6 * reached}}}" in said
    assert [int(step) for step in re.findall(r"^step +(\d+)", said, re.MULTILINE)] == list(range(reached + 1, 9))
    assert "state {'epoch': 1, 'seen': 42}" in said
    assert "Done after 8 steps" in said
    assert [entry.step for entry in HistoryStore(root).read(ref) if entry.split == "train"] == list(range(8))
    assert len(steps(root, ref.name)) <= 2


def test_every_example_has_a_test():
    tested = {"fork_and_continue", "branches", "calculator_agent", "merge", "resume", "sweep"}
    elsewhere = {"demo", "plot", "smollm2", "yes_no_maybe", "on_ranks", "on_ray"}
    # `make test-vllm` starts yes_no_maybe on a server of the same kind instead.
    by_hand = {"with_vllm"}

    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | elsewhere | by_hand


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_model_learns_and_its_fork_goes_on(smollm2: Path, tmp_path: Path):
    said = run_on_all_cores("fork_and_continue", smollm2, tmp_path)

    assert rewards(r"stands at step 6 and earns ([\d.]+)", said)[1] > 0.9


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_the_real_model_the_highest_learning_rate_wrecks_its_branch(smollm2: Path, tmp_path: Path):
    said = run_on_all_cores("branches", smollm2, tmp_path)

    ends = {name: float(after) for name, after in re.findall(r"│ (lr-\S+)\s+│ [\d.]+\s+│ ([\d.]+)", said)}
    assert ends["lr-0.0005"] > 0.9
    assert ends["lr-0.02"] < 0.5


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_model_learns_to_use_the_calculator(smollm2: Path, tmp_path: Path):
    said = run_on_all_cores("calculator_agent", smollm2, tmp_path)

    before, after = re.findall(r"reward ([\d.]+) before, ([\d.]+) after", said)[0]
    assert float(after) > float(before) + 0.3


def rewards(pattern: str, said: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, said)]
