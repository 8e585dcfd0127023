"""Checkpoints that an unmodified script leaves behind: taken once they are whole, and told when they went away."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from art.errors import ConfigurationError
from art.names import ModelRef
from art.ops.folders import commit_folder
from art.ops.watching import Watcher
from art.store.history import HistoryStore
from art.store.stage import Stage
from art.store.store import CheckpointStore
from store.conftest import tree

RUN = ModelRef("shop", "run")
WHOLE = {
    "hf-trainer": ("checkpoint-{}", {"optimizer.pt": b"o"}, "trainer_state.json"),
    "accelerate": ("checkpoint_{}", {"model.safetensors": b"m"}, "random_states_0.pkl"),
    "dcp": ("step-{}", {"__0_0.distcp": b"d"}, ".metadata"),
    "lightning": ("epoch=0-step={}.ckpt", {"__0_0.distcp": b"d", ".metadata": b"m"}, "meta.pt"),
    "prime-rl": ("step_{}", {"trainer/__0_0.distcp": b"d", "orchestrator/progress.pt": b"p"}, "trainer/.metadata"),
    "verl": ("global_step_{}", {"actor/model.pt": b"m"}, "../latest_checkpointed_iteration.txt"),
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def watcher(tmp_path: Path, out: Path) -> Watcher:
    return Watcher(CheckpointStore(tmp_path / "root"), out, RUN)


def begin(out: Path, kind: str, step: int) -> Path:
    name, files, _ = WHOLE[kind]
    folder = out / name.format(step)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def end(folder: Path, kind: str, step: int) -> None:
    (folder / WHOLE[kind][2]).write_text(str(step) if kind == "verl" else "{}")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_checkpoint_is_taken_once_its_last_file_is_there_and_nothing_changes(watcher: Watcher, out: Path, kind: str):
    folder = begin(out, kind, 3)
    assert (watcher.look(), watcher.look()) == ([], [])
    end(folder, kind, 3)
    first = [] if kind == "verl" else watcher.look()

    (event,) = watcher.look()

    assert first == []
    assert (event.step, event.outcome) == (3, "committed")
    checkpoint = watcher.store.open(RUN.at(3))
    assert checkpoint.manifest.kind == kind
    assert {name: content for name, content in tree(checkpoint.path).items() if name != "checkpoint.json"} == tree(
        folder
    )
    assert (watcher.look(), watcher.pending) == ([], [])


def test_a_checkpoint_of_one_file_is_taken_alone(watcher: Watcher, out: Path):
    (out / "epoch=1-step=7.ckpt").write_bytes(b"weights")
    (out / "epoch=1-step=7-v1.ckpt").write_bytes(b"another version")
    (out / "last.ckpt").write_bytes(b"weights")

    first, second = watcher.look(), watcher.look()

    assert (first, [(event.step, event.outcome) for event in second]) == ([], [(7, "committed")])
    checkpoint = watcher.store.open(RUN.at(7))
    assert (checkpoint.manifest.kind, checkpoint.names) == ("lightning", ("epoch=1-step=7.ckpt",))


def test_a_file_that_was_rotated_away_too_early_is_told(watcher: Watcher, out: Path):
    (out / "step=7.ckpt").write_bytes(b"weights")
    watcher.look()
    (out / "step=7.ckpt").unlink()

    (event,) = watcher.look()

    assert (event.step, event.outcome) == (7, "lost")


def test_a_file_that_still_grows_is_waited_for(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    for size in range(3):
        (folder / "optimizer.pt").write_bytes(bytes(size + 5))
        assert watcher.look() == []

    assert [event.outcome for event in watcher.look()] == ["committed"]


def test_what_was_rotated_away_too_early_is_told_once(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    watcher.look()
    shutil.rmtree(folder)

    (event,) = watcher.look()

    assert (event.step, event.outcome) == (3, "lost")
    assert "went away before it was whole" in event.reason
    assert watcher.look() == []


def test_a_restarted_watcher_goes_on_where_the_store_stands(watcher: Watcher, out: Path):
    for step in (3, 10):
        end(begin(out, "hf-trainer", step), "hf-trainer", step)
    watcher.look()
    watcher.look()

    again = Watcher(watcher.store, out, RUN)

    assert (again.look(), again.look()) == ([], [])
    assert watcher.store.steps(RUN) == [3, 10]
    parent = watcher.store.open(RUN.at(10)).manifest.parent
    assert parent is not None
    assert parent.step == 3


@pytest.mark.parametrize("how", ["deleted", "rewound"])
@pytest.mark.parametrize("is_written_again", [False, True])
def test_a_restarted_watcher_passes_over_what_the_store_let_go(
    watcher: Watcher, out: Path, how: str, is_written_again: bool
):
    for step in (3, 6):
        end(begin(out, "hf-trainer", step), "hf-trainer", step)
    watcher.look()
    watcher.look()
    left = 3 if how == "deleted" else 6
    if how == "deleted":
        watcher.store.delete(watcher.store.open(RUN.at(3)))
    else:
        watcher.store.rewind(watcher.store.open(RUN.at(3)))
    if is_written_again:
        (out / f"checkpoint-{left}/optimizer.pt").write_bytes(b"another")

    again = Watcher(watcher.store, out, RUN)

    (gone, events) = (again.gone, [*again.look(), *again.look()])
    expected = [(left, "refused" if how == "deleted" else "committed")] if is_written_again else []
    assert [(event.step, event.outcome) for event in events] == expected
    assert gone == ([] if is_written_again else [left])


def test_what_cannot_be_kept_is_refused_and_the_others_are_taken(watcher: Watcher, out: Path):
    for step in (3, 6):
        end(begin(out, "hf-trainer", step), "hf-trainer", step)
    (out / "checkpoint-3/link").symlink_to("/etc/hostname")
    watcher.look()

    events = watcher.look()

    assert [(event.step, event.outcome) for event in events] == [(3, "refused"), (6, "committed")]


def test_what_a_trainer_logged_goes_into_the_history(watcher: Watcher, out: Path):
    log = [{"step": 1, "loss": 2.0}, {"step": 3, "loss": 1.5}, {"step": 3, "eval_loss": 1.75}, {"step": 9, "loss": 0.0}]
    folder = begin(out, "hf-trainer", 3)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    watcher.look()

    watcher.look()

    entries = [(entry.step, dict(entry.metrics)) for entry in HistoryStore(watcher.store.root).read(RUN)]
    assert entries == [(1, {"train/loss": 2.0}), (3, {"train/loss": 1.5}), (3, {"val/loss": 1.75})]
    assert watcher.store.open(RUN.at(3)).manifest.metrics == {"loss": 1.5, "eval_loss": 1.75}


def test_a_run_whose_loss_is_no_number_is_kept_and_the_lack_of_its_metrics_is_told(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    (folder / "trainer_state.json").write_text('{"log_history": [{"step": 3, "loss": NaN}]}')
    watcher.look()

    (event,) = watcher.look()

    assert event.outcome == "committed"
    assert "without metrics, its log cannot be read" in event.reason
    assert watcher.store.steps(RUN) == [3]


@pytest.mark.parametrize("state", ["", "{", "[]", '{"log_history": ['], ids=["empty", "a brace", "a list", "torn"])
def test_a_trainer_that_was_killed_while_it_wrote_leaves_nothing_to_take(watcher: Watcher, out: Path, state: str):
    folder = begin(out, "hf-trainer", 3)
    (folder / "trainer_state.json").write_text(state)

    assert [watcher.look() for _ in range(3)] == [[], [], []]
    assert watcher.pending == [3]


def test_the_random_state_of_every_rank_is_waited_for(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    for rank in (0, 2):
        (folder / f"rng_state_{rank}.pth").write_bytes(b"r")
    assert [watcher.look() for _ in range(3)] == [[], [], []]

    (folder / "rng_state_1.pth").write_bytes(b"r")

    assert watcher.look() == []
    assert [event.outcome for event in watcher.look()] == ["committed"]


def test_the_random_state_of_every_rank_with_shards_is_waited_for(watcher: Watcher, out: Path):
    folder = begin(out, "accelerate", 3)
    (folder / "pytorch_model_fsdp_0").mkdir()
    for rank in (0, 1):
        (folder / f"pytorch_model_fsdp_0/__{rank}_0.distcp").write_bytes(b"d")
    end(folder, "accelerate", 3)
    assert [watcher.look() for _ in range(3)] == [[], [], []]

    (folder / "random_states_1.pkl").write_bytes(b"r")

    assert watcher.look() == []
    assert [event.outcome for event in watcher.look()] == ["committed"]


def test_a_later_checkpoint_waits_for_an_earlier_one_that_is_still_written(watcher: Watcher, out: Path):
    early, late = begin(out, "hf-trainer", 3), begin(out, "hf-trainer", 6)
    end(late, "hf-trainer", 6)
    for size in range(3):
        (early / "optimizer.pt").write_bytes(bytes(size + 5))
        assert watcher.look() == []
    end(early, "hf-trainer", 3)

    assert watcher.look() == []
    assert [(event.step, event.outcome) for event in watcher.look()] == [(3, "committed"), (6, "committed")]


def test_one_that_will_never_be_whole_holds_up_nothing(watcher: Watcher, out: Path):
    begin(out, "hf-trainer", 3)
    end(begin(out, "hf-trainer", 6), "hf-trainer", 6)
    watcher.look()

    assert [(event.step, event.outcome) for event in watcher.look()] == [(6, "committed")]


def test_what_is_rotated_away_after_its_commit_is_no_news(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    watcher.look()
    watcher.look()
    (folder / "optimizer.pt").unlink()
    half = watcher.look()
    shutil.rmtree(folder)

    assert (half, watcher.look(), watcher.look()) == ([], [], [])


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_second_run_in_the_same_folder_is_told(watcher: Watcher, out: Path, is_restarted: bool):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    watcher.look()
    watcher.look()
    (folder / "optimizer.pt").write_bytes(b"p")
    if is_restarted:
        watcher = Watcher(watcher.store, out, RUN)
    watcher.look()

    (event,) = watcher.look()

    assert (event.step, event.outcome) == (3, "refused")
    assert "is there already, with other files than" in event.reason
    assert [watcher.look() for _ in range(3)] == [[], [], []]


def write_step(out: Path, kind: str, *steps: int, run: str) -> None:
    """Write the last of a run's steps: its weights are its own, and its log has a line for each step."""
    folder = begin(out, kind, steps[-1])
    (folder / "weights.bin").write_bytes(f"{run} {steps[-1]}".encode())
    log = [{"step": step, "loss": len(run) / step, "step_time": time.monotonic()} for step in steps]
    if kind == "hf-trainer":
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    else:
        end(folder, kind, steps[-1])


@pytest.fixture
def first_run(watcher: Watcher, out: Path) -> list[int]:
    """The steps of a run that was taken while it wrote them; it leaves a Trainer's."""
    write_step(out, "hf-trainer", 3, run="one")
    write_step(out, "hf-trainer", 3, 6, run="one")
    assert looked(watcher) == [(3, "committed"), (6, "committed")]
    return [3, 6]


def looked(watcher: Watcher) -> list[tuple[int, str]]:
    return [(event.step, event.outcome) for _ in range(3) for event in watcher.look()]


@pytest.mark.parametrize("kind", ["hf-trainer", "accelerate", "dcp"])
@pytest.mark.parametrize("begun", [2, 3], ids=["at other steps", "at the same steps"])
def test_no_step_of_a_second_run_becomes_a_child_of_the_first(watcher: Watcher, out: Path, kind: str, begun: int):
    write_step(out, kind, 3, run="one")
    write_step(out, kind, 3, 6, run="one")
    assert looked(watcher) == [(3, "committed"), (6, "committed")]
    write_step(out, kind, begun, run="another")
    early = looked(watcher)

    write_step(out, kind, begun, 9, run="another")

    assert (early, looked(watcher)) == ([(begun, "refused")], [(9, "refused")])
    assert watcher.store.steps(RUN) == [3, 6]


def test_a_rewind_makes_room_for_the_run_that_went_another_way(watcher: Watcher, out: Path, first_run: list[int]):
    write_step(out, "hf-trainer", 3, 6, run="another")
    assert looked(watcher) == [(6, "refused")]

    watcher.store.rewind(watcher.store.open(RUN.at(3)))
    (out / "checkpoint-7").mkdir()
    (out / "checkpoint-7/trainer_state.json").write_bytes((out / "checkpoint-3/trainer_state.json").read_bytes())

    assert looked(watcher) == [(7, "committed")]


def test_a_trainers_log_tells_another_run_where_its_steps_before_were_rotated_away(
    watcher: Watcher, out: Path, first_run: list[int]
):
    for step in first_run:
        shutil.rmtree(out / f"checkpoint-{step}")
    write_step(out, "hf-trainer", 3, 6, 9, run="another")

    again = Watcher(watcher.store, out, RUN)
    (event,) = [event for _ in range(3) for event in again.look()]

    assert (event.step, event.outcome) == (9, "refused")
    assert "its log does not begin with that of shop/run@6" in event.reason


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_run_that_was_resumed_goes_on_also_where_a_file_was_added(
    watcher: Watcher, out: Path, first_run: list[int], is_restarted: bool
):
    # As a script does that gathers the shards of a checkpoint into one file.
    (out / "checkpoint-3/gathered.bin").write_bytes(b"gathered")
    assert looked(watcher) == [(3, "refused")]
    if is_restarted:
        watcher = Watcher(watcher.store, out, RUN)

    write_step(out, "hf-trainer", 3, 6, 9, run="one")

    assert (9, "committed") in looked(watcher)


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_rotated_away_while_it_is_looked_at_is_no_error(watcher: Watcher, out: Path, kind: str):
    stop = threading.Event()

    def write_and_rotate() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            folder = begin(out, kind, step)
            for number in range(20):
                (folder / f"deep-{number}").mkdir()
                (folder / f"deep-{number}/file").write_bytes(b"")
            end(folder, kind, step)
            shutil.rmtree(folder)

    writer = threading.Thread(target=write_and_rotate)
    writer.start()
    try:
        events = [event for _ in range(300) for event in watcher.look()]
    finally:
        stop.set()
        writer.join()

    assert [event for event in events if event.outcome == "refused"] == []


def test_a_folder_that_goes_away_and_comes_again_is_watched_on(watcher: Watcher, out: Path):
    begin(out, "hf-trainer", 3)
    watcher.look()
    shutil.rmtree(out)
    assert looked(watcher) == [(3, "lost")]

    out.mkdir()
    end(begin(out, "hf-trainer", 6), "hf-trainer", 6)

    assert looked(watcher) == [(6, "committed")]


def test_two_watchers_take_each_step_once(watcher: Watcher, out: Path):
    watchers = [watcher, Watcher(watcher.store, out, RUN)]
    steps = list(range(3, 33, 3))

    with ThreadPoolExecutor(2) as pool:
        watching = [pool.submit(lambda each: [looked(each) for _ in range(40)], each) for each in watchers]
        for number in range(len(steps)):
            write_step(out, "hf-trainer", *steps[: number + 1], run="one")
    events = [event for each in watching for looks in each.result() for event in looks]
    events += [event for each in watchers for event in looked(each)]

    assert sorted(events) == [(step, "committed") for step in steps]
    assert [entry.step for entry in HistoryStore(watcher.store.root).read(RUN)] == steps


def test_what_was_logged_is_written_down_where_a_watcher_was_killed_behind_its_commit(watcher: Watcher, out: Path):
    write_step(out, "hf-trainer", 3, run="one")
    assert looked(watcher) == [(3, "committed")]
    write_step(out, "hf-trainer", 3, 6, run="one")
    commit_folder(watcher.store, out / "checkpoint-6", RUN.at(6))

    for _ in range(2):
        assert looked(Watcher(watcher.store, out, RUN)) == []

    entries = [(entry.step, entry.metrics["train/loss"]) for entry in HistoryStore(watcher.store.root).read(RUN)]
    assert entries == [(3, 1.0), (6, 0.5)]


def test_files_that_only_got_another_time_are_no_second_run(watcher: Watcher, out: Path):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    watcher.look()
    watcher.look()
    # A clock that was set, or a folder that was copied over itself.
    os.utime(folder / "optimizer.pt", (4e9, 4e9))

    again = Watcher(watcher.store, out, RUN)

    assert [again.look() for _ in range(3)] == [[], [], []]


def test_what_went_away_while_it_was_read_is_looked_at_again(
    watcher: Watcher, out: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begin(out, "hf-trainer", 3)
    end(folder, "hf-trainer", 3)
    watcher.look()
    bring, left = Stage.bring, [1]

    def while_it_is_written(stage: Stage, source: Path, path: str) -> object:
        if left and left.pop():
            (folder / "late.bin").write_bytes(b"late")
        return bring(stage, source, path)

    monkeypatch.setattr(Stage, "bring", while_it_is_written)

    assert [watcher.look() for _ in range(2)] == [[], []]
    assert [event.outcome for event in watcher.look()] == ["committed"]
    assert "late.bin" in watcher.store.open(RUN.at(3)).names


def test_what_the_disk_refuses_is_told_once_and_tried_again(watcher: Watcher, out: Path):
    end(begin(out, "hf-trainer", 3), "hf-trainer", 3)
    staging = watcher.store.staging
    staging.parent.mkdir(parents=True)
    staging.write_text("in the way")
    events = [event for _ in range(4) for event in watcher.look()]
    assert [(event.step, event.outcome) for event in events] == [(3, "refused")]
    assert "a file is in the way of a folder" in events[0].reason

    staging.unlink()

    assert [event.outcome for event in watcher.look()] == ["committed"]


def test_the_folder_of_several_runs_names_those_that_have_checkpoints(watcher: Watcher, out: Path):
    for kind, run in (("hf-trainer", "first"), ("lightning", "logs/version_0/checkpoints")):
        end(begin(out / run, kind, 3), kind, 3)

    assert watcher.below() == [out / "first", out / "logs/version_0/checkpoints"]
    assert Watcher(watcher.store, out / "first", RUN).below() == []


def test_other_folders_and_links_are_passed_over(watcher: Watcher, out: Path, tmp_path: Path):
    (out / "runs").mkdir()
    elsewhere = begin(tmp_path / "elsewhere", "hf-trainer", 5)
    end(elsewhere, "hf-trainer", 5)
    (out / "checkpoint-5").symlink_to(elsewhere)

    assert (watcher.look(), watcher.look()) == ([], [])


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="is no folder"):
        Watcher(CheckpointStore(tmp_path), tmp_path / "nowhere", RUN)
