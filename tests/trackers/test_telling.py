"""Trackers that are late, gone or told twice: no point is lost, and nobody waits."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from art.errors import ConfigurationError, CorruptCheckpointError, TrackerError
from art.format import layout
from art.local.reports import Reports, reports_of
from art.ops import telling
from art.ops.telling import Teller, TrackerReport
from art.store import disk
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.track.json_lines import JsonLines
from art.track.known import maker
from art.track.tracker import Point
from art.trajectories import Trajectory, TrajectoryGroup
from trackers.reading import prepare
from trackers.stories import AGENT, FORK, ListTracker, Shown, fork_agent, new_store, train, validate


@dataclass
class Outage(ListTracker):
    """A list that takes nothing while it is down."""

    down: list[bool] = None  # pyright: ignore[reportAssignmentType] - given by every test

    def log(self, points: Sequence[Point]) -> None:
        if self.down[0]:
            raise TrackerError("the server is away")
        super().log(points)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return new_store(tmp_path)


def test_what_an_outage_kept_back_is_told_at_the_next_step(store):
    runs: dict[str, Shown] = {}
    down = [True]
    reports = Reports(store, [TrackerReport("list", lambda: Outage(runs, down=down))])
    train(store, AGENT, 0.25)
    reports.put(AGENT)
    down[0] = False
    train(store, AGENT, 0.5)
    reports.put(AGENT)

    reports.close()

    assert runs["agent-1"].of("train/reward") == {0: 0.25, 1: 0.5}


def test_what_could_not_be_told_is_said_at_the_end_and_told_by_the_next_start(store):
    runs: dict[str, Shown] = {}
    down = [True]
    report = TrackerReport("list", lambda: Outage(runs, down=down))
    train(store, AGENT, 0.25)
    first = Reports(store, [report])
    first.put(AGENT)

    with pytest.raises(TrackerError, match=r"list was not told of shop/agent-1: the server is away"):
        first.close()
    down[0] = False
    second = Reports(store, [report])
    second.put(AGENT)
    second.close()

    assert runs["agent-1"].of("train/reward") == {0: 0.25}


def test_two_that_tell_one_tracker_at_once_tell_each_point_once(store, tmp_path):
    for reward in (0.25, 0.5, 0.75):
        train(store, AGENT, reward)
    begin = Barrier(4)

    def tell(again: bool) -> str:
        teller = Teller(store, TrackerReport("jsonl", maker("jsonl", tmp_path / "trackers")))
        begin.wait()
        return teller.tell(AGENT, again=again).run

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(tell, [False, False, True, True]))

    folders = [tmp_path / "trackers/jsonl" / AGENT.project / run for run in {*runs}]
    lines = [(folder / "history.jsonl").read_text().splitlines() for folder in folders]
    assert [len(each) for each in lines] == [len({*each}) for each in lines] == [3] * len(lines)


def test_another_process_that_tells_a_tracker_is_not_waited_for_without_an_end(store, tmp_path, monkeypatch):
    train(store, AGENT, 0.5)
    monkeypatch.setattr(telling, "LONGEST_WAIT_S", 0.1)
    reports = Reports(store, [TrackerReport("jsonl", maker("jsonl", tmp_path / "trackers"))])
    folder = store.root / layout.told_path(AGENT, "jsonl").parent

    with disk.exclusive(folder, ()):
        reports.put(AGENT)
        with pytest.raises(TrackerError, match=r"not told of shop/agent.*for 0\.1 s"):
            reports.close()
    told = Teller(store, TrackerReport("jsonl", maker("jsonl", tmp_path / "trackers"))).tell(AGENT)

    assert told.points == 1


def test_one_tracker_that_is_away_keeps_nothing_from_another(store):
    up: dict[str, Shown] = {}
    reports = Reports(
        store, [TrackerReport("away", lambda: Outage({}, down=[True])), TrackerReport("there", lambda: ListTracker(up))]
    )
    train(store, AGENT, 0.25)
    reports.put(AGENT)

    with pytest.raises(TrackerError, match="away was not told"):
        reports.close()

    assert up["agent-1"].of("train/reward") == {0: 0.25}


def test_a_torn_line_is_told_once_it_is_whole(store):
    runs: dict[str, Shown] = {}
    teller = Teller(store, TrackerReport("list", lambda: ListTracker(runs)))
    train(store, AGENT, 0.25)
    with (store.root / "shop/models/agent-1/history.jsonl").open("a") as file:
        file.write('{"step": 1, "split": "val", "ti')
    teller.tell(AGENT)
    validate(store, AGENT, 0.75)

    told = teller.tell(AGENT)

    assert told.points == 1
    assert runs["agent-1"].of("val/reward") == {1: 0.75}


def test_a_history_that_was_replaced_is_another_run(store):
    runs: dict[str, Shown] = {}
    teller = Teller(store, TrackerReport("list", lambda: ListTracker(runs)))
    train(store, AGENT, 0.25, 0.5)
    teller.tell(AGENT)
    (store.root / "shop/models/agent-1/history.jsonl").unlink()
    HistoryStore(store.root).append(AGENT, 0, split="train", metrics={"reward": 0.125})

    told = teller.tell(AGENT)

    assert told.run == "agent-1-2"
    assert runs["agent-1-2"].of("train/reward") == {0: 0.125}


def test_points_that_a_rewind_left_are_dropped_where_the_tracker_can(store, tmp_path, monkeypatch):
    report, read = prepare("tensorboard", tmp_path, monkeypatch)
    teller = Teller(store, report)
    train(store, AGENT, 0.25, 0.5, 0.75)
    teller.tell(AGENT)
    store.rewind(store.open(AGENT.at(1)))
    train(store, AGENT, 0.625)
    teller.tell(AGENT)
    teller.close()

    assert read("agent-1").of("train/reward") == {0: 0.25, 1: 0.625}


def test_a_fork_names_the_last_point_of_its_parent(store):
    opened = []

    class Watching(ListTracker):
        def open(self, run):
            opened.append(run)
            super().open(run)

    teller = Teller(store, TrackerReport("list", lambda: Watching({})))
    train(store, AGENT, 0.25, 0.5)
    validate(store, AGENT, 0.625)
    train(store, AGENT, 0.125)
    teller.tell(AGENT)
    fork_agent(store, 2)
    train(store, FORK, 0.75)

    teller.tell(FORK)

    parent = opened[-1].parent
    assert (parent.run, parent.index) == ("agent-1", 2)
    assert parent.where == (store.root / "shop/models/agent-1/checkpoints/0002").as_uri()


def test_a_spoilt_cursor_is_refused_by_its_name(store):
    train(store, AGENT, 0.25)
    path = store.root / "shop/models/agent-1/trackers/list.json"
    path.parent.mkdir()
    path.write_text('{"run": 7}')

    with pytest.raises(CorruptCheckpointError, match=r"trackers/list\.json"):
        Teller(store, TrackerReport("list", lambda: ListTracker({}))).tell(AGENT)


def test_a_wandb_that_nobody_answers_for_is_asked_again(store, tmp_path, monkeypatch):
    report, _ = prepare("wandb", tmp_path, monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # a port that nothing listens on
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("art.track.wandb.PATIENCE_S", 1)
    teller = Teller(store, report)
    train(store, AGENT, 0.25)

    for _ in range(2):
        with pytest.raises(TrackerError, match="W&B did not take the run agent-1"):
            teller.tell(AGENT)

    assert not (store.root / "shop/models/agent-1/trackers").exists()


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'artfork\[wandb\]'"):
        reports_of("wandb", tmp_path, rollouts=True)


def test_a_name_that_no_tracker_has_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="'neptune' is no tracker; these are: trackio, wandb"):
        reports_of(["neptune"], tmp_path, rollouts=True)


def test_wandb_is_told_of_metrics_where_its_key_is_set_unless_it_is_turned_off(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    (report,) = reports_of(None, tmp_path, rollouts=True)

    assert (report.name, report.has_rollouts) == ("wandb", False)
    assert reports_of([], tmp_path, rollouts=True) == []
    monkeypatch.delenv("WANDB_API_KEY")
    assert reports_of(None, tmp_path, rollouts=True) == []


def test_a_reward_that_is_no_number_is_told_as_none(tmp_path):
    tracker = JsonLines(tmp_path)
    spoken = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    group = TrajectoryGroup([Trajectory(messages_and_choices=spoken, reward=math.nan)])

    tracker.rollouts(1, "val", [group])

    lines = (tmp_path / "rollouts/val/0001.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["reward"] for line in lines] == [None]
