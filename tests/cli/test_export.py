"""`art export`: a whole past, in a tracker that was not there at the time."""

import json

import pytest

from art.format import layout
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import BRANCH, MAIN, Art


def test_a_fork_is_exported_with_its_past(art: Art, store: CheckpointStore):
    done = art("export", "agent-2", "--to", "jsonl")

    own, past = (HistoryStore(store.root).read(model) for model in (BRANCH, MAIN))
    inherited = [entry for entry in past if entry.step < 100]
    lines = (store.root / "trackers/jsonl/shop/agent-2/history.jsonl").read_text().splitlines()
    assert done.stdout.startswith("shop/agent-2 -> jsonl, run agent-2: ")
    assert len(lines) == len(own) + len(inherited)
    assert json.loads(lines[0])["inherited_from"] == "shop/agent-1"


def test_a_second_export_is_a_second_run(art: Art, store: CheckpointStore):
    art("export", "agent-1", "--to", "jsonl")

    done = art("export", "agent-1", "--to", "jsonl", "--json")

    assert json.loads(done.stdout)["run"] == "agent-1-2"
    assert (store.root / "trackers/jsonl/shop/agent-1-2/history.jsonl").exists()


def test_a_model_that_nobody_has_is_named(art: Art):
    done = art("export", "shop/nobody", "--to", "jsonl")

    assert done.returncode == 1
    assert "no history of shop/nobody" in done.stderr


def test_a_history_without_checkpoints_is_exported_too(art: Art, store: CheckpointStore):
    HistoryStore(store.root).append(ModelRef("shop", "judge"), 0, split="val", metrics={"reward": 0.5})

    done = art("export", "judge", "--to", "jsonl")

    assert done.stdout == "shop/judge -> jsonl, run judge: 1 point.\n"


@pytest.mark.parametrize("price", [2.5, 0.0001])
def test_a_past_is_exported_with_what_it_cost_until_each_step(art: Art, store: CheckpointStore, price: float):
    lines = [
        {"step": step, "split": "train", "time": f"2026-01-01T0{step}:00:00Z", "train/reward": 0.5} for step in range(4)
    ]
    path = store.root / layout.history_path(ModelRef("shop", "priced"))
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    art("export", "priced", "--to", "jsonl", "--price", str(price))
    status, hourly = (json.loads(art("status", "--price", str(each), "--json").stdout) for each in (price, 1))

    told = [
        json.loads(line) for line in (store.root / "trackers/jsonl/shop/priced/history.jsonl").read_text().splitlines()
    ]
    assert [line["costs/clock"] for line in told] == pytest.approx([step * price for step in range(4)])
    assert hourly["cost"]["price"] >= 3
    assert status["cost"]["price"] == pytest.approx(price * hourly["cost"]["price"])
