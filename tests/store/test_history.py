"""Histories: lines that a crash cannot take but for the one being written, read through the lineage."""

import json
import math
from pathlib import Path

import pytest

from art.errors import InvalidNameError
from art.names import ModelRef
from art.store import history as history_module
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import write_checkpoint, write_run


@pytest.fixture
def history(store: CheckpointStore) -> HistoryStore:
    return HistoryStore(store.root)


def path_of(history: HistoryStore, model: ModelRef) -> Path:
    return history.root / model.project / "models" / model.name / "history.jsonl"


def test_entries_are_read_in_the_order_they_were_written(history: HistoryStore, main: ModelRef):
    written = [history.append(main, step, split="train", metrics={"reward": step / 10}) for step in (1, 2, 2)]

    assert history.read(main) == written


def test_a_model_without_a_history_has_an_empty_one(history: HistoryStore, main: ModelRef):
    assert history.read(main) == []
    assert not history.root.exists()


def test_metrics_are_named_by_their_split(history: HistoryStore, main: ModelRef):
    history.append(main, 1, split="val", metrics={"reward": 0.5})

    line = json.loads(path_of(history, main).read_bytes())

    assert line["val/reward"] == 0.5
    assert (line["step"], line["split"]) == (1, "val")
    assert line["time"].endswith("Z")


def test_numbers_that_json_cannot_hold_become_null(history: HistoryStore, main: ModelRef):
    history.append(main, 1, split="train", metrics={"loss": math.nan, "ratio": math.inf, "reward": 1.0})

    [entry] = history.read(main)

    assert entry.metrics == {"train/loss": None, "train/ratio": None, "train/reward": 1.0}
    assert history.scores([], "loss") == {}


@pytest.mark.parametrize("torn_bytes", range(1, 90, 8))
def test_a_torn_last_line_loses_only_itself(history: HistoryStore, main: ModelRef, torn_bytes: int):
    kept = history.append(main, 1, split="train", metrics={"réward": 0.1})
    history.append(main, 2, split="train", metrics={"réward": 0.2})
    path = path_of(history, main)
    path.write_bytes(path.read_bytes()[:-torn_bytes])

    added = history.append(main, 3, split="train", metrics={"réward": 0.3})

    found = history.read(main)
    assert (found[0], found[-1]) == (kept, added)
    assert len(found) == (3 if torn_bytes == 1 else 2), "a line that only lost its end is whole"


@pytest.mark.parametrize("line", [b"\xff\xfe", b"5", b"[]", b"null", b'{"step": "x"}', b"{}"])
def test_a_line_that_is_no_entry_is_left_out(history: HistoryStore, main: ModelRef, line: bytes):
    kept = history.append(main, 1, split="train", metrics={})
    path = path_of(history, main)
    path.write_bytes(line + b"\n" + path.read_bytes())

    assert history.read(main) == [kept]


def test_a_forks_past_is_read_through_its_lineage(
    store: CheckpointStore, history: HistoryStore, main: ModelRef, branch: ModelRef
):
    write_run(store, main, 1, 2, 3)
    forked = store.fork(store.open(main.at(2)), branch).checkpoint
    write_checkpoint(store, branch, 3, parent=forked)
    for model, step, reward in [(main, 1, 0.1), (main, 2, 0.2), (main, 3, 0.3), (branch, 3, 0.9)]:
        history.append(model, step, split="train", metrics={"reward": reward})

    entries = list(history.read_lineage(store.segments(branch)))

    assert [(entry.model, entry.step) for entry in entries] == [(main, 1), (main, 2), (branch, 3)]
    assert history.scores(store.segments(branch), "reward") == {1: 0.1, 2: 0.2, 3: 0.9}
    assert history.read(branch) == entries[2:]


def test_the_newest_value_of_a_metric_counts(history: HistoryStore, store: CheckpointStore, main: ModelRef):
    for reward in (0.1, 0.7):
        history.append(main, 1, split="val", metrics={"reward": reward})

    assert history.scores(store.segments(main), "val/reward") == {1: 0.7}
    assert history.scores(store.segments(main), "reward") == {}


def test_trajectories_are_added_beside_those_of_the_step(history: HistoryStore, main: ModelRef):
    for text in ('{"a": 1}', '{"b": "ü"}'):
        path = history.append_trajectories(main, 5, split="val", trajectories=[text])

    assert path == history.root / "shop/models/agent-1/trajectories/val/0005.jsonl"
    assert path.read_text() == '{"a": 1}\n{"b": "ü"}\n'


@pytest.mark.parametrize("split", ["../../..", "a/b", "", ".hidden"])
def test_a_split_cannot_lead_out_of_the_model(history: HistoryStore, main: ModelRef, split: str):
    with pytest.raises(InvalidNameError, match="split"):
        history.append_trajectories(main, 5, split=split, trajectories=["{}"])
    with pytest.raises(InvalidNameError, match="split"):
        history.append(main, 5, split=split, metrics={})

    assert not history.root.exists()


def test_the_name_that_pages_spelled_before_still_works():
    assert history_module.History is HistoryStore
