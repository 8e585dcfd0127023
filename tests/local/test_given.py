"""What a backend is given that it can do nothing with: refused at once, and nothing is begun."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

import art
from art.errors import ConfigurationError, TrainingDataError
from art.local import LocalBackend


@pytest.mark.parametrize(
    "given", [None, 5, "x", [5], ["x"], [[]], [art.Trajectory()]], ids=lambda given: str(given)[:11]
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
