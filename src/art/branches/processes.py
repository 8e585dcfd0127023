"""Branches in processes of this machine, so many at a time. A worker that is killed goes on where its branch stands.

Knows processes, their exit and their last words; what they do is `worker`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from art.branches.beginning import stands_at
from art.branches.executors import check_counts, reference_to
from art.branches.stopping import GRACE_S, TOLD_TO_STOP
from art.branches.task import Outcome, Result, Task
from art.branches.work import Script, Train, result_of
from art.local.interrupted import say_it_in_one_line
from art.local.stopping import stop_at_signals


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Trains `workers` branches at a time, each in a process of its own.

    A worker that is killed is started again, and costs the step that it was in; after `restarts` in a row without a new
    step its branch is lost. What workers print goes to files in `logs`, or is dropped but for the last line of one
    that fails.
    """

    workers: int = 2
    threads: int | None = None
    restarts: int = 2
    logs: Path | str | None = None

    def __post_init__(self) -> None:
        check_counts(self, workers=1, threads=1, restarts=0)

    async def run(self, tasks: Sequence[Task], work: Train | Script) -> list[Result]:
        reference = reference_to(work)
        say_it_in_one_line()
        stop_at_signals()
        room = asyncio.Semaphore(self.workers)
        with ExitStack() as stack:
            logs = Path(self.logs or stack.enter_context(tempfile.TemporaryDirectory(prefix="art-branches-")))
            logs.mkdir(parents=True, exist_ok=True)
            works = [asyncio.create_task(self._in_room(task, reference, logs, room)) for task in tasks]
            try:
                return await asyncio.gather(*works)
            finally:
                # One that fails, or a Ctrl-C, ends all. Each is told once, and waited for until its worker has stopped.
                for each in works:
                    if not each.cancelling():
                        each.cancel()
                await asyncio.gather(*works, return_exceptions=True)

    async def _in_room(self, task: Task, reference: dict[str, str], logs: Path, room: asyncio.Semaphore) -> Result:
        async with room:
            return await self._until_done(task, reference, logs / f"{task.name}.log")

    async def _until_done(self, task: Task, reference: dict[str, str], log: Path) -> Result:
        restarts = in_vain = 0
        while True:
            stood = stands_at(task)
            answer, code = await _work(task, reference, log)
            if answer:
                return replace(Result.from_json(answer), restarts=restarts)
            if code >= 0:
                how = "was told to stop" if code == TOLD_TO_STOP else f"ended with exit status {code}"
                return replace(result_of(task, problem=f"Its worker {how}{_last_words(log)}"), restarts=restarts)
            in_vain = 0 if stands_at(task) > stood else in_vain + 1
            if in_vain > self.restarts:
                how = f"killed by {signal.Signals(-code).name} {in_vain} times without a new step"
                lost = result_of(task, outcome=Outcome.LOST, problem=f"Its worker was {how}{_last_words(log)}")
                return replace(lost, restarts=restarts)
            restarts += 1


async def _work(task: Task, reference: dict[str, str], log: Path) -> tuple[bytes, int]:
    """Let a worker do the task; gives its result, nothing if there is none, and its exit status."""
    read, write = os.pipe()
    with log.open("ab") as output:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "art.branches.worker", str(write)),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[write],
            env=_environment(task),
            # Ctrl-C is for this process, which then tells its workers.
            start_new_session=True,
        )
    os.close(write)
    assert worker.stdin is not None
    with os.fdopen(read, "rb") as answers:
        try:
            message = {"task": task.to_json(), "work": reference}
            # It stays open: a worker ends when it closes, so that none outlives this process.
            worker.stdin.write(json.dumps(message).encode() + b"\n")
            code = await worker.wait()
        finally:
            await _stop(worker)
        return answers.read(), code


async def _stop(worker: asyncio.subprocess.Process) -> None:
    """Let a worker finish its step, and end it if it takes longer than it may."""
    if worker.returncode is not None:
        return
    with suppress(ProcessLookupError):
        worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), GRACE_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()


def _environment(task: Task) -> dict[str, str]:
    threads = str(task.threads)
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": path}


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last and f": {last}"
