"""`art log`: branches, forks, the newest and the best, and what was set aside."""

import json
import shutil

from art.names import ModelRef
from art.store.store import CheckpointStore
from store.conftest import write_foreign

from .conftest import BRANCH, MAIN, Art, train

GRAPH = """\
shop

●  agent-1@150
│ ●  agent-2@200
│ ●  agent-2@150
│ ◆  agent-2@100
├─╯
●  agent-1@100
●  agent-1@50
"""


def test_log_names_models_steps_rewards_and_fork_points(art: Art):
    done = art("log")

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert "agent-1  3 checkpoints · best train/reward 0.9100 at 100" in lines
    assert "agent-2  3 checkpoints · best train/reward 0.9700 at 200" in lines
    assert "  forked from agent-1@100" in lines
    assert _line(lines, " 150   0.1200").endswith("newest")
    assert _line(lines, " 100   0.9100").endswith("best · forked by agent-2")
    assert _line(lines, " 200   0.9700").endswith("newest · best")


def test_the_graph_draws_a_fork_above_the_step_it_left(art: Art):
    done = art("log", "--graph")

    drawn = [line.split("   ")[0].rstrip() for line in done.stdout.splitlines()]
    assert "\n".join(drawn[: len(GRAPH.splitlines())]) + "\n" == GRAPH


def test_the_graph_fits_80_columns(art: Art):
    done = art("log", "--graph")

    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_a_fork_of_a_fork_hangs_on_the_fork(art: Art, store: CheckpointStore):
    store.fork(store.open(BRANCH.at(150)), ModelRef("shop", "agent-3"))

    drawn = art("log", "--graph").stdout.splitlines()

    at = next(number for number, line in enumerate(drawn) if "agent-3@150" in line)
    assert drawn[at].startswith("│ │ ◆")
    assert drawn[at + 1].startswith("│ ├─╯")
    assert drawn[at + 2].startswith("│ ●  agent-2@150")


def test_a_long_name_is_cut_and_its_step_is_not(art: Art, store: CheckpointStore):
    train(store, ModelRef("wide", "agent-with-a-name-that-goes-on-and-on-訓練"), {7: 0.5})

    drawn = art("log", "wide", "--graph").stdout

    assert "agent-with-a-name-that-goes…@7 " in drawn


def test_twelve_forks_in_a_row_still_fit(art: Art, store: CheckpointStore):
    for number in range(12):
        model = ModelRef("deep", f"m{number}")
        if number:
            store.fork(store.open(ModelRef("deep", f"m{number - 1}").at(number)), model)
        train(store, model, {number + 1: 0.5, number + 2: 0.5})

    lines = art("log", "deep", "--graph").stdout.splitlines()

    assert max(len(line) for line in lines) <= 80
    assert "│││││││││││◆  m11@11" in "\n".join(lines)


def test_of_many_steps_those_that_matter_are_shown(art: Art, store: CheckpointStore):
    train(store, ModelRef("long", "run"), {step: step / 100 if step < 60 else 0.1 for step in range(1, 101)})
    store.fork(store.open(ModelRef("long", "run").at(30)), ModelRef("long", "side"))

    drawn = art("log", "long", "--graph").stdout

    shown = [step for step in range(1, 101) if f"run@{step} " in drawn]
    assert shown == [1, 30, 59, 100]
    assert "28 steps" in drawn
    assert "31 … 58" in drawn


def test_all_shows_every_step(art: Art, store: CheckpointStore):
    train(store, ModelRef("long", "run"), dict.fromkeys(range(1, 31), 0.5))

    drawn = art("log", "long/run", "--graph", "--all").stdout

    assert all(f"run@{step} " in drawn for step in range(1, 31))


def test_what_a_rewind_set_aside_is_listed(art: Art, store: CheckpointStore):
    store.rewind(store.open(MAIN.at(100)))

    listed, drawn = art("log").stdout, art("log", "--graph").stdout

    assert "◌  150 set aside" in listed
    assert "rewound to 100 (id 1)" in listed
    assert "◌  agent-1@150" in drawn
    assert "╭─╯" in drawn


def test_a_fork_point_that_was_set_aside_is_said_to_be(art: Art, store: CheckpointStore):
    store.rewind(store.open(MAIN.at(50)))
    train(store, MAIN, {100: 0.3})

    document = json.loads(art("log", "--json").stdout)
    drawn = art("log", "--graph").stdout

    branch = _model(document, "agent-2")
    assert branch["forked_from"]["where"] == "set aside"
    # The new step 100 is another checkpoint: the fork grows from 50, where the old one left.
    order = [drawn.index(name) for name in ("●  agent-1@100", "◆  agent-2@100", "◌  agent-1@100 ", "●  agent-1@50")]
    assert order == sorted(order)


def test_a_fork_point_that_was_deleted_is_said_to_be(art: Art, store: CheckpointStore):
    store.delete(store.open(MAIN.at(100)))

    document = json.loads(art("log", "--json").stdout)

    assert _model(document, "agent-2")["forked_from"]["where"] == "gone"


def test_a_foreign_checkpoint_is_said_to_be(art: Art, store: CheckpointStore):
    write_foreign(store.root / "shop/models/theirs/checkpoints/7")

    listed = art("log", "shop/theirs").stdout
    document = json.loads(art("log", "shop/theirs", "--json").stdout)

    assert "foreign" in _line(listed.splitlines(), " 7 ")
    assert document["models"][0]["checkpoints"][0]["foreign"] is True


def test_a_damaged_checkpoint_is_a_line_and_not_the_end(art: Art, store: CheckpointStore):
    (store.open(MAIN.at(150)).path / "optimizer.safetensors").unlink()

    done = art("log", "--graph")

    assert done.returncode == 0
    assert "✗  agent-1@150" in done.stdout
    assert "optimizer.safetensors is gone" in done.stdout
    assert "agent-1@100" in done.stdout


def test_log_of_a_model_leaves_out_strangers(art: Art, store: CheckpointStore):
    train(store, ModelRef("shop", "stranger"), {1: 0.5})

    listed = art("log", "agent-2").stdout

    assert "agent-1" in listed
    assert "stranger" not in listed


def test_another_metric_chooses_the_best(art: Art, store: CheckpointStore):
    from art.store.history import HistoryStore

    for step, value in {50: 3.0, 100: 2.0}.items():
        HistoryStore(store.root).append(MAIN, step, split="val", metrics={"score": value})

    document = json.loads(art("log", "--json", "--metric", "val/score").stdout)

    assert _model(document, "agent-1")["best"] == 50


def test_an_unknown_metric_is_an_error(art: Art):
    done = art("log", "--metric", "val/nothing")

    assert done.returncode == 1
    assert done.stderr == "art: No checkpoint has the metric 'val/nothing'; write split/name, as in val/reward.\n"


def test_scores_come_from_manifests_where_the_history_stayed_behind(art: Art, store: CheckpointStore):
    for model in (MAIN, BRANCH):
        (store.root / "shop/models" / model.name / "history.jsonl").unlink()

    document = json.loads(art("log", "--json").stdout)

    assert _model(document, "agent-1")["best"] == 100


def test_json_holds_every_step(art: Art, store: CheckpointStore):
    document = json.loads(art("log", "--json").stdout)

    main, branch = _model(document, "agent-1"), _model(document, "agent-2")
    assert [(one["step"], one["score"]) for one in main["checkpoints"]] == [(50, 0.42), (100, 0.91), (150, 0.12)]
    assert main["checkpoints"][1]["forks"] == ["shop/agent-2"]
    assert (branch["newest"], branch["best"]) == (200, 200)
    assert branch["forked_from"]["digest"] == store.open(MAIN.at(100)).digest
    assert branch["forked_from"]["not_after"] == 120


def test_an_empty_store_is_no_error(art: Art, store: CheckpointStore):
    shutil.rmtree(store.root)
    store.root.mkdir()

    done = art("log")

    assert (done.returncode, done.stdout) == (0, "")
    assert "no models" in done.stderr


def _line(lines: list[str], part: str) -> str:
    return next(line for line in lines if part in line)


def _model(document: dict, name: str) -> dict:
    return next(model for model in document["models"] if model["model"] == name)
