"""What the page is told: the state of every branch, its curve, a step's rollouts, two checkpoints side by side."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from art.cli.app import app
from art.names import CheckpointRef, ModelRef
from art.ops import disk_documents, documents
from art.ops.compare import compare
from art.ops.keep import policies_of
from art.ops.lanes import Life, Overview, read_overview
from art.ops.retention import plan_retention
from art.ops.rollouts import read_rollouts
from art.store.store import CheckpointStore
from art.ui.desk import Desk

from .gallery import show_everything
from .story import Branch, tell

FALLEN, GAMED = ModelRef("shop", "agent-004"), ModelRef("shop", "agent-005")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    return tell(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="module")
def overview(store: CheckpointStore) -> Overview:
    return read_overview(store)


def test_the_collapse_is_open_and_the_gamed_reward_answered(overview: Overview):
    lives = {alarm.lane.model: (alarm.life, alarm.answered_by) for alarm in overview.alarms}

    assert lives == {FALLEN: (Life.OPEN, None), GAMED: (Life.ANSWERED, ModelRef("shop", "agent-008"))}
    assert overview.alarms[0].lane.last_good == 69


def test_the_status_names_the_command_that_goes_on(overview: Overview):
    status = documents.status_document(overview, root="/elsewhere")

    assert status["alerts"][0]["command"] == "art fork shop/agent-004@69 shop/agent-004-fork --root /elsewhere"
    assert status["running"] == ["shop/agent-004", "shop/agent-006"]
    assert status["cost"]["steps"] == 264


def test_a_lane_says_what_its_fork_changed(overview: Overview):
    lanes = {entry["model"]: entry for entry in documents.tree_document(overview)["models"]}

    assert lanes["agent-004"]["forked_from"]["changed"] == [["learning_rate", 3e-5, 1e-4]]
    assert lanes["agent-004"]["checkpoints"] == [[48, 78]]
    assert lanes["agent-001"]["forked_from"] is None
    assert [lanes[name]["level"] for name in ("agent-001", "agent-002", "agent-004", "agent-008")] == [0, 1, 2, 3]


def test_every_document_is_strict_json(store: CheckpointStore, overview: Overview):
    lane = overview.lanes[0]
    ref = lane.model.at(3)
    written = [
        documents.status_document(overview, root="root"),
        documents.tree_document(overview),
        documents.history_document(lane),
        documents.step_document(lane, ref, store.find(ref), problem=None, recorded=[1, 2, 3]),
        documents.rollouts_document(ref, "train", read_rollouts(store.root, ref, "train")),
    ]

    assert all(json.loads(json.dumps(document, allow_nan=False)) == document for document in written)


def test_rollouts_are_grouped_by_prompt_and_the_worst_comes_first(store: CheckpointStore):
    groups = read_rollouts(store.root, FALLEN.at(72), "train")

    assert len(groups) == 2
    assert groups[0].mean <= groups[1].mean
    assert [rollout.is_malformed for rollout in groups[0].rollouts] == [False, True, True, True]


def test_the_same_prompt_has_the_same_key_at_every_step(store: CheckpointStore):
    keys = [{group.key for group in read_rollouts(store.root, FALLEN.at(step), "train")} for step in (48, 72)]

    assert keys[0] == keys[1]


def test_a_comparison_finds_where_two_branches_part(store: CheckpointStore):
    found = compare(store, CheckpointRef.parse("shop/agent-006@80"), FALLEN.at(75))

    assert str(found.part_at) == "shop/agent-002@48"
    assert {change.key for change in found.settings} == {"learning_rate", "epsilon"}
    assert found.metrics["train/reward"][0] == pytest.approx(0.78, abs=0.05)


def test_a_comparison_with_an_ancestor_parts_at_the_ancestor(store: CheckpointStore):
    assert str(compare(store, FALLEN.at(60), FALLEN.at(75)).part_at) == "shop/agent-004@60"
    assert str(compare(store, ModelRef("shop", "agent-001").at(20), FALLEN.at(75)).part_at) == "shop/agent-001@20"


def test_a_long_history_is_thinned_and_keeps_its_extremes(tmp_path: Path):
    steps = 3000
    lines = [
        json.dumps(
            {"step": step, "split": "train", "time": "", **_long(step), "train/reward": 9.0 if step == 1777 else 0.5}
        )
        for step in range(steps)
    ]
    folder = tmp_path / "shop/models/long"
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")

    lane = read_overview(CheckpointStore(tmp_path)).lanes[0]
    history, few = documents.history_document(lane), documents.history_document(lane, most=100)

    assert len(few["steps"]) <= 100 < len(history["steps"]) <= documents.HISTORY_POINTS
    assert 9.0 in history["metrics"]["train/reward"]
    assert 9.0 in few["metrics"]["train/reward"]
    assert 9.0 in documents.lane_document(lane, "train/reward")["spark"][1]


def _long(step: int) -> dict[str, float]:
    chance = random.Random(step)
    return {f"train/other_{place}": chance.random() for place in range(7)}


def test_damage_is_a_lane_and_not_the_end(tmp_path: Path):
    store = tell(tmp_path, story=(Branch(name="one", last=3, changed={}), Branch(name="two", last=3, changed={})))
    manifest = store.open(ModelRef("shop", "one").at(3)).path / "checkpoint.json"
    manifest.chmod(0o644)
    manifest.write_text("{")

    lanes = {entry["model"]: entry for entry in documents.tree_document(read_overview(store))["models"]}

    assert list(lanes["one"]["problems"]) == ["3"]
    assert lanes["two"]["problems"] == {}


def test_the_page_and_the_program_are_told_the_same(store: CheckpointStore):
    desk, first, second = Desk(store), FALLEN.at(69), FALLEN.at(72)
    asked = {
        "status": desk.status(),
        "log --lanes": desk.tree(),
        f"log {FALLEN} --history": desk.history(FALLEN),
        f"show {second} --rollouts": desk.rollouts(second),
        f"diff {first} {second}": desk.comparison(first, second),
    }

    for command, document in asked.items():
        told = json.loads(CliRunner().invoke(app, [*command.split(), "--json", "--root", str(store.root)]).stdout)
        page = json.loads(json.dumps(document))
        if "history" in command:
            # The page draws eight of them.
            told["metrics"] = {name: told["metrics"][name] for name in page["metrics"]}

        assert {name: told[name] for name in page.keys() - {"now"}} == {
            name: page[name] for name in page.keys() - {"now"}
        }, command


def test_an_empty_root_has_no_lanes(tmp_path: Path):
    assert documents.tree_document(read_overview(CheckpointStore(tmp_path)))["models"] == []


def test_a_clean_up_is_told_as_the_plan_of_its_policies(store: CheckpointStore):
    plan = plan_retention(store, store.models(), policies_of("newest:1"))
    told = disk_documents.cleanup_document(plan, rule="newest:1", root=".art")

    assert told["freed_bytes"] == sum(row["freed_bytes"] for row in told["rows"]) == plan.removal.freed_bytes > 0
    assert sum(row["goes"] for row in told["rows"]) == len(plan.removal.refs)
    assert told["command"] == "art gc --keep newest:1 --plan"
    first = next(row for row in told["rows"] if row["model"] == "shop/agent-001")
    assert {"newest", "shop/agent-002 was forked here"} <= set(first["why"])


def test_a_tree_tells_merges_pins_certificates_and_what_was_set_aside(tmp_path: Path):
    tree = documents.tree_document(read_overview(show_everything(tmp_path)))
    lanes = {entry["model"]: entry for entry in tree["models"]}

    assert lanes["agent-merged"]["forked_from"]["merged_with"] == "shop/agent-008@76"
    assert lanes["agent-002"]["pinned"] == [50]
    assert lanes["agent-002"]["certified"] == [[40, 40], [50, 50], [60, 60]]
    assert lanes["agent-003"]["set_aside"][0]["steps"] == [[59, 64]]
    assert lanes["imported-art"]["foreign"] == [[3, 3]]
