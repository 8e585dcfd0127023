"""Branches on real raylets: the same bits, and what a killed worker, a killed raylet and a full cluster cost.

`make test-ray` runs these; in an environment without Ray they are skipped.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import art
from art.branches import Budget, Outcome, Ray, Report
from art.branches.many import plan_tasks, run_tasks
from art.branches.work import Script
from art.errors import ConfigurationError
from art.store.liveness import ENDED, find_run

from . import training
from .conftest import NAMES, SOURCE, VARIANTS, weights

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, so that it runs nothing, and two machines with one each."""
    make: Any = importlib.import_module("ray.cluster_utils").Cluster
    cluster = make(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, include_dashboard=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def in_turn(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same branches, trained one after the other in this process."""
    root = Path(shutil.copytree(trunk, tmp_path_factory.mktemp("in-turn") / ".art"))
    asyncio.run(art.fork_many(SOURCE, VARIANTS, training.learn, budget=Budget(steps=2), backend={"path": str(root)}))
    return root


def fork_many(root: Path, train: Any, *, executor: Ray, variants: Any = VARIANTS, steps: int = 2) -> Report:
    backend = {"path": str(root)}
    return asyncio.run(
        art.fork_many(SOURCE, variants, train, executor=executor, budget=Budget(steps=steps), backend=backend)
    )


def test_a_cluster_that_is_not_there_is_one_error_at_once(root: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    # Before the cluster of the other tests: a program that has a connection uses it.
    assert not ray.is_initialized()

    with pytest.raises(ConfigurationError, match=f"No Ray cluster answers at {address}"):
        fork_many(root, training.learn, executor=Ray(address=address))


def test_ray_gives_the_bits_of_one_after_the_other(cluster: Any, root: Path, in_turn: Path):
    report = fork_many(root, training.learn, executor=Ray())

    assert [result.outcome for result in report.results] == [Outcome.FINISHED] * 2
    for name in NAMES:
        for step in (3, 4):
            assert weights(root, name, step) == weights(in_turn, name, step)


def test_a_failure_is_told_and_a_script_runs(cluster: Any, root: Path, tmp_path: Path):
    report = fork_many(root, training.learn_or_fail, executor=Ray(), variants=[{"fails": True}])
    script = tmp_path / "script.py"
    script.write_text("import sys, os\nsys.exit(os.environ['ART_MODEL'])")
    tasks = plan_tasks(SOURCE, VARIANTS[:1], backend={"path": str(root)}, budget=Budget(), threads=1)

    ended = asyncio.run(run_tasks(tasks, Script(str(script)), executor=Ray()))

    assert report.results[0].problem == "KeyError: 'no such tool'"
    assert ended.results[0].problem == f"{script} ended with '{NAMES[0]}'"


def test_a_killed_worker_costs_the_step_it_was_in_and_no_bit(cluster: Any, root: Path, in_turn: Path):
    report = fork_many(root, training.learn_and_be_killed, executor=Ray(), variants=VARIANTS[:1])

    (result,) = report.results
    assert (result.outcome, result.restarts, result.value) == (Outcome.FINISHED, 1, 1)
    assert [weights(root, NAMES[0], step) for step in (3, 4)] == [weights(in_turn, NAMES[0], step) for step in (3, 4)]


def test_a_worker_that_never_takes_a_step_is_given_up(cluster: Any, root: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    tasks = plan_tasks(SOURCE, VARIANTS[:1], backend={"path": str(root)}, budget=Budget(), threads=1)

    report = asyncio.run(run_tasks(tasks, Script(str(script)), executor=Ray(restarts=0)))

    (result,) = report.results
    assert result.outcome is Outcome.LOST
    assert str(result.problem).startswith("Its worker was lost 1 times without a new step")


def test_a_cluster_without_room_says_so(cluster: Any, root: Path):
    report = fork_many(root, training.learn, executor=Ray(threads=64, patience_s=1), variants=VARIANTS[:1])

    (result,) = report.results
    assert result.outcome is Outcome.LOST
    assert (
        "a branch takes 64 CPUs and 0 GPUs of one machine, and of the 3 in the cluster the largest has 1 CPUs"
        in str(result.problem)
    )


async def begun(root: Path) -> asyncio.Task[Report]:
    """Begin a branch whose worker waits in its second step, and wait until it does."""
    branches = asyncio.create_task(
        art.fork_many(
            SOURCE,
            VARIANTS[:1],
            training.learn_slowly,
            executor=Ray(),
            budget=Budget(steps=2),
            backend={"path": str(root)},
        )
    )
    while not (root / "worker").exists():
        await asyncio.sleep(0.05)
        assert not branches.done(), branches.result()
    return branches


def test_a_killed_raylet_costs_the_step_it_was_in_and_no_bit(cluster: Any, root: Path, in_turn: Path):
    async def body() -> Report:
        branches = await begun(root)
        identity = (root / "worker").read_text()
        node = next(each for each in cluster.worker_nodes if each.node_id == identity)
        await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)
        return await branches

    (result,) = asyncio.run(body()).results

    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 1)
    assert [weights(root, NAMES[0], step) for step in (3, 4)] == [weights(in_turn, NAMES[0], step) for step in (3, 4)]


def test_who_stops_waiting_stops_the_workers(cluster: Any, root: Path):
    async def body() -> None:
        branches = await begun(root)
        branches.cancel()
        with pytest.raises(asyncio.CancelledError):
            await branches

    asyncio.run(body())

    run = find_run(root, art.ModelRef("shop", NAMES[0]))
    # Only a worker that was told, and not killed, has a last word.
    assert run is not None
    assert run.word == ENDED
    assert fork_many(root, training.learn, executor=Ray(), variants=VARIANTS[:1]).results[0].step == 4


def test_the_example_runs_on_the_cluster(cluster: Any, small_model: Path, tmp_path: Path):
    example = Path(__file__).parents[2] / "examples/on_ray.py"
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}

    done = subprocess.run(
        [sys.executable, str(example), str(small_model)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert [line.partition(",")[0].strip() for line in done.stdout.split("\n") if "finished" in line] == [
        "examples/lr-5e-05@3",
        "examples/lr-0.0005@3",
    ]
