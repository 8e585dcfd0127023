"""Nothing skipped, nothing twice: what a run takes of its data set, across restarts, kills, forks and rewinds."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

import art
import digits
from art.errors import CorruptCheckpointError
from art.local import LocalBackend
from art.names import ModelRef
from art.ops.trained import read_trained
from art.store.store import CheckpointStore
from art.utils import DatasetBatch, iterate_dataset
from local import data_run

SCENARIOS = [f"task-{number}" for number in range(7)]
CONFIG = art.TrainConfig(learning_rate=4e-4, max_divergence=None)
ONE = ModelRef("p", "one")


class Run:
    """A script over a data set, on rollouts that are sampled once and named after each batch's scenarios."""

    def __init__(self, backend: LocalBackend, model: art.TrainableModel, sampled: list[art.Trajectory]) -> None:
        self.backend, self.model, self._sampled = backend, model, sampled

    async def batches(self, per_step: int = 3, epochs: int = 2) -> Iterator[DatasetBatch[str]]:
        """Begin as ART's scripts do."""
        step = await self.model.get_step()
        return iterate_dataset(SCENARIOS, per_step, num_epochs=epochs, initial_step=step, use_tqdm=False)

    def groups(self, batch: DatasetBatch[str]) -> list[art.TrajectoryGroup]:
        return [art.TrajectoryGroup(self._sampled, metadata={"scenario_id": item}) for item in batch.items]

    async def train(self, groups: list[art.TrajectoryGroup]) -> int:
        return (await self.model.train(groups, CONFIG)).step

    async def rest(self, per_step: int = 3) -> None:
        for batch in await self.batches(per_step):
            await self.train(self.groups(batch))

    def counts(self) -> dict[str, int]:
        return counts(self.backend.store, self.model.ref)


def counts(store: CheckpointStore, model: ModelRef) -> dict[str, int]:
    """What the newest checkpoint was trained on; every step's record agrees."""
    newest = store.newest(model)
    assert newest is not None
    found = read_trained(store, newest.ref)
    assert not found.problems
    assert found.counted_from is None
    return {scenario.key: scenario.total for scenario in found.scenarios}


@asynccontextmanager
async def running(base_model: Path, root: Path, name: str = "one") -> AsyncIterator[Run]:
    async with LocalBackend(path=root) as backend:
        model = art.TrainableModel(name=name, project="p", base_model=str(base_model))
        await model.register(backend)
        sampled = [await digits.rollout(model, "give digits") for _ in range(2)]
        sampled[0].reward = sampled[1].reward + 1
        yield Run(backend, model, sampled)


TWICE = dict.fromkeys(SCENARIOS, 2)


def test_a_run_that_stops_anywhere_sees_each_scenario_as_often(small_model: Path, tmp_path: Path):
    async def body() -> None:
        for _ in range(3):
            async with running(small_model, tmp_path) as run:
                for place, batch in enumerate(await run.batches()):
                    groups = run.groups(batch)
                    if place == 2:
                        break  # rolled out, and never trained on
                    await run.train(groups)

    asyncio.run(body())

    assert counts(CheckpointStore(tmp_path), ONE) == TWICE


def test_a_fork_goes_on_where_its_source_was_and_tells_what_it_inherited(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with running(small_model, tmp_path) as run:
            await run.rest()
            two = art.TrainableModel(name="two", project="p", base_model=str(small_model))
            await run.backend._experimental_fork_checkpoint(two, "one", not_after_step=4)
        async with running(small_model, tmp_path, "two") as run:
            await run.rest()

    asyncio.run(body())

    store = CheckpointStore(tmp_path)
    found = read_trained(store, ModelRef("p", "two").at(6))
    assert counts(store, ModelRef("p", "two")) == TWICE
    assert sum(scenario.inherited or 0 for scenario in found.scenarios) == 10
    assert found.forked_at == ONE.at(4)
    files = {step: store.open(ModelRef("p", name).at(step)) for step, name in ((5, "one"), (6, "two"))}
    trainer = store.open(ONE.at(6)).manifest.files, files[6].manifest.files
    assert len({file.blake3 for files in trainer for file in files if file.path == "trainer.json"}) == 1


def test_a_run_that_is_taken_back_meanwhile_takes_its_data_back_too(small_model: Path, tmp_path: Path):
    async def body() -> tuple[list[int], dict[str, int]]:
        async with running(small_model, tmp_path) as run:
            steps: list[int] = []
            for batch in await run.batches():
                steps.append(await run.train(run.groups(batch)))
                if len(steps) == 4:
                    await run.backend._experimental_fork_checkpoint(run.model, "one", not_after_step=2)
            return steps, run.counts()

    steps, seen = asyncio.run(body())

    assert steps == [1, 2, 3, 4, 3, 4, 5, 6]
    assert seen == TWICE


def test_a_batch_without_a_step_comes_again_and_other_sizes_go_on_at_the_same_item(small_model: Path, tmp_path: Path):
    async def body() -> dict[str, int]:
        async with running(small_model, tmp_path) as run:
            await run.model.train_sft([art.Trajectory(messages_and_choices=digits_said())], art.TrainSFTConfig())
        for per_step in (3, 2):
            async with running(small_model, tmp_path) as run:
                for batch in iterate_dataset(SCENARIOS, per_step, num_epochs=2, use_tqdm=False, model=run.model):
                    if await run.train(run.groups(batch)) == 3:
                        break
        async with running(small_model, tmp_path) as run:
            await run.rest(4)
            return run.counts()

    seen = asyncio.run(body())

    assert {key: seen[key] for key in SCENARIOS} == TWICE
    assert sum(seen.values()) == 15


def digits_said() -> art.Messages:
    return [{"role": "user", "content": "give digits"}, {"role": "assistant", "content": "1"}]


def test_groups_that_were_under_way_are_rolled_out_again(small_model: Path, tmp_path: Path):
    async def body() -> dict[str, int]:
        async with running(small_model, tmp_path) as run:
            ahead = [run.groups(batch) for batch in await run.batches()]  # all are rolled out, and two are done
            for done in (0, 2):
                await run.train(ahead[done])
        async with running(small_model, tmp_path) as run:
            left = [batch.step for batch in await run.batches()]
            assert left == [1, 3, 4, 5]
            await run.rest()
            return run.counts()

    assert asyncio.run(body()) == TWICE


def test_sums_that_were_altered_are_no_proof(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with running(small_model, tmp_path) as run:
            await run.rest()

    asyncio.run(body())
    store = CheckpointStore(tmp_path)
    path = store.open(ONE.at(6)).path / "trainer.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"task-0": 2', b'"task-0": 3'))

    with pytest.raises(CorruptCheckpointError, match=r"trainer\.json was altered"):
        read_trained(store, ONE.at(6))


@pytest.mark.slow
def test_a_script_that_is_killed_at_any_moment_sees_each_scenario_as_often(small_model: Path, tmp_path: Path):
    # A server that has the imports forks the processes: each begins at once.
    processes = get_context("forkserver")
    processes.set_forkserver_preload([data_run.__name__])

    def run(killed_at: tuple[str, int] | None) -> int | None:
        ours, theirs = processes.Pipe()
        script = processes.Process(target=data_run.run, args=(str(small_model), str(tmp_path), theirs))
        script.start()
        theirs.close()
        with contextlib.suppress(EOFError):
            while ours.recv() != killed_at:
                ours.send("go on")
            os.kill(script.pid or 0, signal.SIGKILL)
        script.join()
        return script.exitcode

    ends = [run((moment, step)) for step, moment in enumerate(data_run.MOMENTS)]

    assert [*ends, run(None)] == [-signal.SIGKILL] * 5 + [0]
    assert counts(CheckpointStore(tmp_path), ONE) == {f"task-{number}": 2 for number in range(8)}
