"""What a backend is given that it can do nothing with: refused at once, and nothing is begun."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import art
from art.errors import ConfigurationError, TrainingDataError
from art.format.layout import ADAPTER_WEIGHTS
from art.local import LocalBackend
from art.local.given import rollout_seconds
from art.store.history import HistoryStore
from art.store.store import CheckpointStore


@pytest.mark.parametrize(
    "given", [None, 5, "x", [5], ["x"], [[5]], [art.Trajectory()]], ids=lambda given: str(given)[:11]
)
def test_what_is_no_list_of_groups_is_refused_and_nothing_is_trained(
    small_model: Path, tmp_path: Path, given: object
) -> None:
    model = art.TrainableModel(name="one", project="p", base_model=str(small_model))

    async def body() -> None:
        async with LocalBackend(path=tmp_path / "root") as backend:
            with pytest.raises(TrainingDataError, match="nothing was trained"):
                await backend.train(model, given)  # pyright: ignore[reportArgumentType]
            trajectories = [art.TrajectoryGroup([])] if isinstance(given, list) else given
            with pytest.raises(TrainingDataError, match="nothing was trained"):
                await backend.train_sft(model, trajectories)  # pyright: ignore[reportArgumentType]

    asyncio.run(body())


NO_NUMBERS = [0, -1, 1.5, math.nan, math.inf, "x", True, [], 2**80, 10**5000]


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("max_rows", NO_NUMBERS),
        ("max_cache_bytes", NO_NUMBERS),
        ("max_request_bytes", NO_NUMBERS),
        ("ranks", NO_NUMBERS),
        ("seed", NO_NUMBERS[1:]),
        *((name, [None, 5, 10**5000, b"x", [], object()]) for name in ("host", "device", "sampler")),
        *((name, [5, 10**5000, b"x", [], object()]) for name in ("api_key", "dtype")),
    ],
)
def test_what_no_backend_can_be_made_with_is_refused_at_once(tmp_path: Path, setting: str, values: list[object]):
    for value in values:
        with pytest.raises(ConfigurationError, match=setting) as refused:
            LocalBackend(path=tmp_path / "root", **{setting: value})  # pyright: ignore[reportArgumentType]
        assert len(str(refused.value)) < 1000
    assert not (tmp_path / "root").exists()


def test_the_seconds_of_rollouts_are_those_in_which_any_ran() -> None:
    async def rollout(waits_s: float) -> art.Trajectory:
        await asyncio.sleep(waits_s)
        return art.Trajectory()

    async def group() -> art.TrajectoryGroup:
        return art.TrajectoryGroup([await rollout(0.1)])

    async def gather() -> list[art.TrajectoryGroup]:
        several = [art.TrajectoryGroup([rollout(0.2), rollout(0.3)]), group()]
        gathered = await art.gather_trajectory_groups(several, pbar_desc=None)
        await asyncio.sleep(0.5)
        alone = await art.TrajectoryGroup([rollout(0.1)])
        [loose] = await art.gather_trajectories([rollout(0.1)], pbar_desc=None)
        return [*gathered, alone, art.TrajectoryGroup([loose])]

    seconds = rollout_seconds(asyncio.run(gather()))["rollout_seconds"]

    assert 0.5 <= seconds < 0.9


@pytest.mark.parametrize(
    ("durations", "seconds"),
    [([2.0, 3], 3.0), ([None, None], None), ([math.nan, 1.0], 1.0), ([], None)],
)
def test_a_rollout_that_nobody_gathered_says_by_itself_how_long_it_took(
    durations: list[float | None], seconds: float | None
) -> None:
    began = datetime(2026, 11, 30, 12, tzinfo=UTC)
    group = art.TrajectoryGroup(
        art.Trajectory(start_time=began, metrics={} if each is None else {"duration": each}) for each in durations
    )

    assert rollout_seconds([group]) == ({} if seconds is None else {"rollout_seconds": seconds})


def given_groups() -> list[art.TrajectoryGroup]:
    return [
        art.TrajectoryGroup(
            art.Trajectory(
                messages_and_choices=[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": answer}],
                reward=reward,
                metadata={"answer": answer},
                start_time=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for answer, reward in (("4", 1.0), ("5", 0.0), ("four", 0.5))
        )
    ]


def spoil(groups: list[art.TrajectoryGroup]) -> None:
    """Change a batch as its owner may who goes on with it."""
    first, second, _ = groups[0].trajectories
    first.reward, first.metadata["answer"] = -5.0, "other"
    messages: Any = first.messages_and_choices
    messages[0]["content"] = "something else"
    messages.append({"role": "user", "content": "and now?"})
    second.metrics["late"] = 1.0
    groups[0].metadata["late"] = True
    groups[0].trajectories.pop()
    groups.clear()


@pytest.mark.parametrize("kind", ["groups", "answers"])
def test_what_its_owner_changes_meanwhile_is_neither_trained_nor_written_down(
    small_model: Path, tmp_path: Path, kind: str
) -> None:
    async def trained(root: Path, *, spoilt: bool) -> None:
        model = art.TrainableModel(name="one", project="p", base_model=str(small_model))
        async with LocalBackend(path=root, seed=1) as backend:
            await model.register(backend)
            groups = given_groups()
            trajectories = groups[0].trajectories
            step = model.train(groups) if kind == "groups" else backend.train_sft(model, trajectories)
            running = asyncio.create_task(step)
            await asyncio.sleep(0)
            if spoilt:
                spoil(groups)
            await running

    lines: list[str] = []
    for name, spoilt in (("quiet", False), ("spoilt", True)):
        asyncio.run(trained(tmp_path / name, spoilt=spoilt))
        written = HistoryStore(tmp_path / name).read_trajectories(art.ModelRef("p", "one"), 0, split="train")
        lines.append(str(list(written)))

    stores = [CheckpointStore(tmp_path / name) for name in ("quiet", "spoilt")]
    one, other = (store.open(art.ModelRef("p", "one").at(1)).path / ADAPTER_WEIGHTS for store in stores)
    assert one.read_bytes() == other.read_bytes()
    assert lines[0] == lines[1]
