"""Branches on a Ray cluster: each is a task, wherever there is room for it. `pip install 'artfork[ray]'`.

Ray schedules, and carries the function to the worker; a worker or a machine that is lost begins again where its branch
stands. The branches' root is on a disk that all machines share, or each machine has its own and mirrors to a bucket.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from art.branches.beginning import stands_at
from art.branches.branch import Branch
from art.branches.executors import check_counts
from art.branches.task import Outcome, Result, Task
from art.branches.work import Script, Train, perform_alone, perform_script, result_of
from art.errors import ConfigurationError

LOOK_S = 1.0
CONNECT_S = 10.0
GRACE_S = 15.0
"""What workers have to finish their steps when all are told to stop."""


@dataclass(frozen=True, kw_only=True)
class Ray:
    """Trains branches on the cluster at `address`; without one on that of `RAY_ADDRESS`, or on this machine.

    Each takes as many CPUs as threads, and `gpus`. A worker that is lost is started again, and costs the step that it
    was in; after `restarts` in a row without a new step its branch is lost. So it is if for `patience_s` the cluster
    has no machine that is large enough.
    """

    address: str | None = None
    threads: int | None = None
    gpus: float = 0
    restarts: int = 2
    patience_s: float = 30.0

    def __post_init__(self) -> None:
        check_counts(self, threads=1, restarts=0)

    async def run(self, tasks: Sequence[Task], work: Train | Script) -> list[Result]:
        stop = threading.Event()
        running = asyncio.ensure_future(asyncio.to_thread(self._run, tasks, work, stop))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([running])
            raise

    def _run(self, tasks: Sequence[Task], work: Train | Script, stop: threading.Event) -> list[Result]:
        ray = imported("ray")
        with _connected(ray, self.address):
            return _Cluster(ray, self, work).run(tasks, stop)


@dataclass(kw_only=True)
class _Running:
    """A branch that a worker has, or that waits for one."""

    place: int
    task: Task
    stood: int
    restarts: int = 0
    in_vain: int = 0


@dataclass
class _Cluster:
    ray: Any
    executor: Ray
    work: Train | Script
    _running: dict[Any, _Running] = field(default_factory=dict[Any, _Running], init=False)

    def run(self, tasks: Sequence[Task], stop: threading.Event) -> list[Result]:
        """Keep every branch with the cluster until it has a result; gives nothing once it is told to stop."""
        results: dict[int, Result] = {}
        for place, task in enumerate(tasks):
            self._submit(_Running(place=place, task=task, stood=stands_at(task)))
        roomy = time.monotonic()
        while self._running:
            if stop.is_set():
                self._end()
                return []
            finished, _ = self.ray.wait([*self._running], timeout=LOOK_S)
            for reference in finished:
                running = self._running.pop(reference)
                result = self._outcome(reference, running)
                if result:
                    results[running.place] = result
                else:
                    self._submit(running)
            needed = next((running.task.threads for running in self._running.values()), 0)
            if self._has_room(needed):
                roomy = time.monotonic()
            elif time.monotonic() - roomy > self.executor.patience_s:
                results.update(self._given_up(needed))
        return [results[place] for place in range(len(tasks))]

    def _submit(self, running: _Running) -> None:
        running.stood = stands_at(running.task)
        options = {
            "num_cpus": running.task.threads,
            "num_gpus": self.executor.gpus,
            # Whether another try is worth it depends on the branch, so it is decided here.
            "max_retries": 0,
            # A process that computed with so many threads, or ran a script, is used for nothing else.
            "max_calls": 1,
            "runtime_env": {"env_vars": _environment(running.task.threads)},
        }
        remote = self.ray.remote(**options)(_work)
        self._running[remote.remote(running.task.to_json(), self.work)] = running

    def _outcome(self, reference: Any, running: _Running) -> Result | None:
        """Give a branch's result; None where its worker was lost and another may go on."""
        exceptions = imported("ray.exceptions")
        try:
            answer = Result.from_json(self.ray.get(reference))
        except exceptions.RayTaskError as error:
            return replace(result_of(running.task, problem=_last_line(error)), restarts=running.restarts)
        except exceptions.RayError as error:
            running.in_vain = 0 if stands_at(running.task) > running.stood else running.in_vain + 1
            if running.in_vain <= self.executor.restarts:
                running.restarts += 1
                return None
            problem = f"Its worker was lost {running.in_vain} times without a new step: {_first_line(error)}"
            lost = result_of(running.task, outcome=Outcome.LOST, problem=problem)
            return replace(lost, restarts=running.restarts)
        return replace(answer, restarts=running.restarts)

    def _end(self) -> None:
        """Let workers finish their steps, and end those that take longer than they may."""
        for reference in self._running:
            self.ray.cancel(reference)
        _, late = self.ray.wait([*self._running], num_returns=len(self._running), timeout=GRACE_S)
        for reference in late:
            self.ray.cancel(reference, force=True)
        if late:
            # Ended, they leave their branches to whoever comes next.
            self.ray.wait(late, num_returns=len(late), timeout=GRACE_S)
        self._running.clear()

    def _has_room(self, threads: int) -> bool:
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return any(each.get("CPU", 0) >= threads and each.get("GPU", 0) >= self.executor.gpus for each in machines)

    def _given_up(self, threads: int) -> Iterator[tuple[int, Result]]:
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus, gpus = (max((each.get(name, 0) for each in machines), default=0) for name in ("CPU", "GPU"))
        problem = (
            f"There is no room: a branch takes {threads} CPUs and {self.executor.gpus:g} GPUs of one machine, and of "
            f"the {len(machines)} in the cluster the largest has {cpus:g} CPUs, and {gpus:g} GPUs. What was committed "
            "stays; call fork_many again once the cluster has room."
        )
        for reference, running in self._running.items():
            self.ray.cancel(reference, force=True)
            yield running.place, result_of(running.task, outcome=Outcome.LOST, problem=problem)
        self._running.clear()


def imported(module: str) -> Any:
    """Import a module of Ray; raises `ConfigurationError` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigurationError("Ray is not installed here: pip install 'artfork[ray]'.") from None


@contextmanager
def _connected(ray: Any, address: str | None) -> Generator[None]:
    """Use the connection that the program has, or one for the time of the block."""
    if ray.is_initialized():
        yield
        return
    _check_answers(address or os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    except ConnectionError as error:
        raise ConfigurationError(f"No Ray cluster could be joined: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that something listens at a cluster's address: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"No Ray cluster answers at {address}: {error}. Start one there with `ray start --head`; or leave the "
            "address out (and unset RAY_ADDRESS), and branches run on this machine."
        ) from error


def _work(task_text: str, work: Train | Script) -> str:
    """Do a task where Ray has put it."""
    task = Task.from_json(task_text)
    result = perform_script(task, work) if isinstance(work, Script) else perform_alone(task, partial(_attentive, work))
    return result.to_json()


async def _attentive(train: Train, branch: Branch) -> Any:
    """Train, and wake each second: Ray interrupts without a signal, which a loop that only waits sleeps through."""

    async def wake() -> None:
        while True:
            await asyncio.sleep(LOOK_S)

    waking = asyncio.ensure_future(wake())
    try:
        return await train(branch)
    finally:
        waking.cancel()


def _environment(threads: int) -> dict[str, str]:
    # On machines that share a disk the program's own modules are found as here.
    path = os.pathsep.join(filter(None, sys.path))
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": path}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().split("\n")), "") or type(error).__name__


def _last_line(error: Exception) -> str:
    return str(error).strip().split("\n")[-1]
