"""A backend that reports: real training, and what its trackers were told."""

import asyncio
from pathlib import Path

import pytest

import art
import digits
from art.errors import ConfigurationError, TrackerError
from art.format.lineage import Segment
from art.local import LocalBackend
from art.local.reports import Reports
from art.names import ModelRef
from art.ops.telling import TrackerReport
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from trackers.reading import prepare
from trackers.stories import ListTracker, Shown


def model(small_model: Path) -> art.TrainableModel:
    return art.TrainableModel(name="agent-1", project="shop", base_model=str(small_model))


def test_training_is_reported_as_it_is_written_down(small_model: Path, tmp_path: Path, monkeypatch) -> None:
    runs: dict[str, Shown] = {}

    def listed() -> ListTracker:
        return ListTracker(runs)

    async def body() -> None:
        told = [listed, "tensorboard"]
        async with LocalBackend(path=tmp_path, report_to=told, gpu_cost_per_hour_usd=7.2e6) as backend:
            agent = model(small_model)
            await agent.register(backend)
            await digits.train(agent, 2)
            await agent.log(metrics={"reward": 0.5}, split="val")

    asyncio.run(body())

    rewards = HistoryStore(tmp_path).scores([Segment(ModelRef("shop", "agent-1"), 0, None)], "reward")
    _, read = prepare("tensorboard", tmp_path / "trackers", monkeypatch)
    # What is compared was rounded to six places; TensorBoard keeps 32 bits.
    assert runs["agent-1"].of("train/reward") == pytest.approx(rewards, abs=1e-6)
    assert runs["agent-1"].of("val/reward") == {2: 0.5}
    costs = runs["agent-1"].of("costs/clock")
    assert list(costs) == [0, 1, 2]
    assert 0 == costs[0] < costs[1] <= costs[2]
    assert runs["agent-1"].settings["base_model"] == str(small_model)
    assert read("agent-1").of("train/reward") == pytest.approx(rewards, abs=1e-6)


def test_a_model_names_whom_it_reports_to_as_arts_do(tmp_path: Path) -> None:
    runs: dict[str, Shown] = {}

    def listed() -> ListTracker:
        return ListTracker(runs)

    async def body(backend: LocalBackend) -> None:
        async with backend:
            for name, told in (("usual", None), ("named", ["jsonl"]), ("silent", [])):
                each = art.Model(name, "shop", report_metrics=told)
                await each.register(backend)
                await each.log(metrics={"reward": 0.5})

    asyncio.run(body(LocalBackend(path=tmp_path / "unasked")))
    asyncio.run(body(LocalBackend(path=tmp_path / "asked", report_to=listed)))

    assert sorted(path.parent.name for path in (tmp_path / "unasked/trackers").rglob("*.jsonl")) == ["named"]
    assert sorted(path.parent.name for path in (tmp_path / "asked/trackers").rglob("*.jsonl")) == ["named"]
    # What the backend names hears of every model.
    assert sorted(runs) == ["named", "silent", "usual"]


def test_what_nobody_named_is_not_told_of_a_model_that_names_none(tmp_path: Path) -> None:
    runs: dict[str, Shown] = {}
    store = CheckpointStore(tmp_path)
    reports = Reports(store, [TrackerReport("by its key", lambda: ListTracker(runs), has_rollouts=False)])
    for name in ("usual", "silent"):
        HistoryStore(tmp_path).append(ModelRef("shop", name), 0, split="val", metrics={"reward": 0.5})

    reports.choose(ModelRef("shop", "silent"), [])
    for name in ("usual", "silent"):
        reports.put(ModelRef("shop", name))
    reports.close()

    assert list(runs) == ["usual"]


def test_a_tracker_that_a_model_names_wrongly_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            await art.Model("agent", "shop", report_metrics=["wandbb"]).register(backend)

    with pytest.raises(ConfigurationError, match="wandbb"):
        asyncio.run(body())


def test_a_tracker_that_fails_fails_no_step(small_model: Path, tmp_path: Path) -> None:
    class Broken(ListTracker):
        def log(self, points) -> None:
            raise ConnectionError("no route to host")

    def broken() -> Broken:
        return Broken({})

    async def body() -> int:
        backend = LocalBackend(path=tmp_path, report_to=broken)
        agent = model(small_model)
        await agent.register(backend)
        await digits.train(agent, 1)
        step = await agent.get_step()
        with pytest.raises(TrackerError, match=r"broken was not told of shop/agent-1: no route to host"):
            await backend.close()
        return step

    assert asyncio.run(body()) == 1
