"""`art log --lanes` and `--history`: a line a branch on one axis of steps, and the documents that the page has."""

import json
from pathlib import Path
from typing import Any

import pytest

from art.cli.render.wording import HEIGHTS
from art.names import ModelRef
from art.store.store import CheckpointStore
from art.ui.desk import METRICS, Desk
from store.conftest import write_checkpoint
from ui.story import STORY, tell

from .conftest import BRANCH, MAIN, Art, train


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    return tell(tmp_path_factory.mktemp("story"))


def lanes_of(art: Art, *words: str, root: Path | None = None) -> dict[str, str]:
    """Give the lane of each branch by its name, from the first character of the axis on."""
    _, _, labels, *lines = art("log", *words, "--lanes", **({"root": root} if root else {})).stdout.splitlines()
    axis = next(place for place, character in enumerate(labels) if character.isdigit())
    return {line[:axis].strip(" ✓✕▲▶"): line[axis:] for line in lines if line}


def test_a_fork_stands_below_its_source_where_it_left_it(art: Art):
    lanes = lanes_of(art)

    assert list(lanes) == ["agent-1", "agent-2"]
    assert lanes["agent-1"][0] != " "
    fork = lanes["agent-2"].index("◆")
    assert lanes["agent-2"][:fork].isspace()
    # Both end at the right of what they have: 150 and 200 of 50 to 200.
    assert fork < len(lanes["agent-1"].rstrip(" 0123456789.")) < len(lanes["agent-2"].rstrip(" 0123456789."))
    assert lanes["agent-2"].endswith("0.9700")


def test_what_went_wrong_is_marked_between_the_last_good_step_and_the_fall(art: Art, story: CheckpointStore):
    lanes = lanes_of(art, root=story.root)

    fallen = lanes["agent-004"]
    assert -1 < fallen.index("◆") < fallen.index("⚑") < fallen.index("✕")
    assert "learning_rate 0.0001" in fallen
    assert "✕" not in lanes["agent-006"]


def test_each_connector_reaches_its_source_and_crosses_no_other_lane(art: Art, story: CheckpointStore):
    lanes = lanes_of(art, root=story.root)
    sources = {branch.name: branch.source for branch in STORY}
    names = list(lanes)

    for place, name in enumerate(names):
        if (source := sources[name]) is None:
            continue
        fork = lanes[name].index("◆")
        between = [lanes[other][fork] for other in names[names.index(source) + 1 : place]]
        assert set(between) <= {"│", "◆"}, name
        assert lanes[source][fork] in HEIGHTS, name
    assert any("│" in lane for lane in lanes.values())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_lanes_of_a_deep_tree_fit_a_terminal(art: Art, store: CheckpointStore, columns: int):
    for number in range(1, 9):
        source = ModelRef("deep", f"m{number - 1}")
        if number > 1:
            store.fork(store.open(source.at(number * 100 - 100)), ModelRef("deep", f"m{number}"))
        train(store, ModelRef("deep", f"m{number}"), {number * 100: number / 10})

    drawn = art("log", "deep", "--lanes", COLUMNS=str(columns)).stdout

    assert max(map(len, drawn.splitlines())) <= max(columns, 60)
    assert drawn.count("◆") == 7


def test_what_was_rewound_is_a_ghost_behind_the_newest_step(art: Art, store: CheckpointStore):
    store.rewind(store.open(MAIN.at(50)))

    assert "┄" in lanes_of(art)["agent-1"]


def test_steps_without_rewards_are_there(art: Art, store: CheckpointStore):
    write_checkpoint(store, ModelRef("bare", "run"), 1)

    lanes = lanes_of(art, "bare")

    assert "·" in lanes["run"]
    assert "–" in lanes["run"]


def test_best_and_curve_are_of_the_metric_that_was_asked_for(art: Art, story: CheckpointStore):
    document = json.loads(
        art("log", "shop/agent-004", "--lanes", "--metric", "val/reward", "--json", root=story.root).stdout
    )
    unknown = art("log", "--lanes", "--metric", "val/nothing", root=story.root)

    fallen = document["models"][-1]
    assert fallen["model"] == "agent-004"
    assert fallen["best_value"] == max(fallen["spark"][1])
    assert (unknown.returncode, "val/nothing" in unknown.stderr) == (1, True)


def test_a_bucket_has_lanes_too(art: Art, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    for model in (MAIN, BRANCH):
        assert art("push", model.name, url).returncode == 0

    assert "◆" in lanes_of(art, url)["agent-2"]
    assert art("log", url, "--lanes", "--json").returncode == 2


def test_the_documents_of_the_program_are_those_of_the_page(
    art: Art, story: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    # Both are asked from one shell: the commands in them are the same.
    monkeypatch.setenv("ART_ROOT", str(story.root))
    desk, fallen = Desk(story), ModelRef("shop", "agent-004")

    def printed(*words: str) -> Any:
        return json.loads(art(*words, "--json", root=story.root).stdout)

    assert printed("log", "--lanes") == desk.tree()
    assert without_now(printed("status")) == without_now(desk.status())
    assert printed("show", f"{fallen}@75", "--rollouts") == desk.rollouts(fallen.at(75))
    planned = printed("gc", "--keep", "newest:1", "--plan")
    assert planned["freed_bytes"] == desk.cleanup("newest:1")["freed_bytes"] > 0
    history, theirs = printed("log", str(fallen), "--history"), desk.history(fallen)
    assert {name: history["metrics"][name] for name in theirs["metrics"]} == theirs["metrics"]
    assert set(theirs["metrics"]) <= set(METRICS)
    assert {**history, "metrics": 0, "tails": 0} == {**theirs, "metrics": 0, "tails": 0}


def without_now(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "now"}


def test_the_history_is_a_line_a_step(art: Art):
    lines = art("log", "agent-1", "--history").stdout.splitlines()

    assert [line.split() for line in lines] == [
        ["step", "train/reward"],
        ["50", "0.4200"],
        ["100", "0.9100"],
        ["150", "0.1200"],
    ]


@pytest.mark.parametrize(
    "words",
    [("--history",), ("agent-1", "--history", "--lanes"), ("--graph", "--lanes"), ("s3://b::shop/m", "--history")],
    ids=["no model", "two ways", "two drawings", "a bucket"],
)
def test_what_cannot_be_shown_is_said(art: Art, words: tuple[str, ...]):
    done = art("log", *words)

    assert done.returncode == 2
    assert done.stdout == ""
