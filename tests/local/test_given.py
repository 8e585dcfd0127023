"""What a backend is given that it can do nothing with: refused at once, and nothing is begun."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

import art
from art.errors import ConfigurationError, TrainingDataError
from art.local import LocalBackend
from art.local.given import rollout_seconds


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
