"""What every tracker promises, asked of each with its own package and read back from its own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from art.ops.telling import Teller, TrackerReport
from art.store.store import CheckpointStore
from trackers.reading import NAMES, Read, prepare
from trackers.stories import AGENT, FORK, fork_agent, new_store, train, validate

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(params=NAMES)
def tracker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[TrackerReport, Read]:
    return prepare(request.param, tmp_path, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return new_store(tmp_path)


def tell(store: CheckpointStore, report: TrackerReport, *, again: bool = False, model=AGENT):
    """Tell in what might be another process: nothing is kept but what is on the disk."""
    teller = Teller(store, report)
    try:
        return teller.tell(model, again=again)
    finally:
        teller.close()


def test_a_history_is_shown_with_its_settings(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25, 0.5)
    validate(store, AGENT, 0.75)

    told = tell(store, report)

    shown = read("agent-1")
    assert told.points == 3
    assert shown.of("train/reward") == {0: 0.25, 1: 0.5}
    assert shown.of("train/loss") == {0: -0.25, 1: -0.5}
    assert shown.of("val/reward") == {2: 0.75}
    assert shown.settings["loss"] == "cispo"
    assert float(shown.settings["learning_rate"]) == 1e-5


def test_rollouts_are_shown_with_what_they_earned(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25)

    told = tell(store, report)

    texts = read("agent-1").texts
    assert told.rollouts == 1
    assert "1 + 1?" in texts
    assert "worth 0.25" in texts


def test_another_process_tells_what_is_missing(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25, 0.5)
    tell(store, report)
    train(store, AGENT, 0.75)

    told = tell(store, report)

    assert told.points == 1
    assert read("agent-1").of("train/reward") == {0: 0.25, 1: 0.5, 2: 0.75}


def test_nothing_new_is_nothing_told(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25)
    tell(store, report)
    before = read("agent-1").points

    told = tell(store, report)

    assert told.points == 0
    assert read("agent-1").points == before


def test_a_fork_shows_its_whole_past_and_says_what_it_inherited(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25, 0.5)
    validate(store, AGENT, 0.625)
    train(store, AGENT, 0.125)
    tell(store, report)
    fork_agent(store, 2)
    train(store, FORK, 0.75)

    told = tell(store, report, model=FORK)

    shown = read("agent-2")
    assert told.inherited == 3
    assert shown.of("train/reward") == {0: 0.25, 1: 0.5, 2: 0.75}, "step 2 is the fork's, not its parent's"
    assert shown.of("val/reward") == {2: 0.625}
    assert shown.inherited_steps == {0, 1, 2}
    assert shown.forked_from == "shop/agent-1@2"
    assert read("agent-1").of("train/reward") == {0: 0.25, 1: 0.5, 2: 0.125}


def test_a_whole_past_is_written_again_as_another_run(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.25, 0.5)
    tell(store, report)

    told = tell(store, report, again=True)

    assert told.run == "agent-1-2"
    assert read("agent-1-2").of("train/reward") == {0: 0.25, 1: 0.5}
    assert read("agent-1").of("train/reward") == {0: 0.25, 1: 0.5}


def test_many_points_come_through(store, tracker):
    report, read = tracker
    train(store, AGENT, 0.5)
    validate(store, AGENT, 0.5)
    path = store.root / "shop/models/agent-1/history.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[-1] * 1099)

    told = tell(store, report)

    assert told.points == 1101
    assert read("agent-1").of("val/reward") == {1: 0.5}
