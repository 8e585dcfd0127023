"""Several processes in one root: exactly one wins, or all find the same work done; readers never see a half of it."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from art.errors import ArtError, CheckpointExistsError, ConflictError, DestinationNotEmptyError, NotFoundError
from art.format.pick import AtMost
from art.names import ModelRef
from art.store import disk
from art.store.history import HistoryStore
from art.store.state import States
from art.store.store import CheckpointStore

from .conftest import write_checkpoint, write_run

PROCESSES, ACTS = 4, 25
MAIN, BRANCH = ModelRef("shop", "main"), ModelRef("shop", "branch")
spawn = multiprocessing.get_context("spawn")
begin: Barrier | None = None


def prepare(barrier: Barrier) -> None:
    global begin  # noqa: PLW0603
    begin = barrier


def at_once(act: Callable[..., object], *arguments: tuple[object, ...]) -> list[object]:
    """Run a function in as many processes as there are arguments, released together."""
    barrier = spawn.Barrier(len(arguments))
    with ProcessPoolExecutor(len(arguments), mp_context=spawn, initializer=prepare, initargs=(barrier,)) as pool:
        return [future.result() for future in [pool.submit(act, *given) for given in arguments]]


def wait() -> None:
    assert begin is not None
    begin.wait(60)


def fork_many(root: Path, source_steps: list[int]) -> list[str]:
    """Fork into one model after another; tell how each went."""
    store, outcomes = CheckpointStore(root), list[str]()
    wait()
    for number, step in enumerate(source_steps):
        try:
            forked = store.fork(store.open(MAIN.at(step)), ModelRef("shop", f"branch-{number}"), pick=AtMost(step))
        except DestinationNotEmptyError:
            outcomes.append("refused")
        else:
            outcomes.append("repeated" if forked.repeated else "forked")
    return outcomes


def commit_many(root: Path, steps: list[int]) -> list[str]:
    store, outcomes = CheckpointStore(root), list[str]()
    wait()
    for step in steps:
        try:
            write_checkpoint(store, MAIN, step, reward=random.random())
            outcomes.append("committed")
        except CheckpointExistsError:
            outcomes.append("refused")
    return outcomes


def do_anything(root: Path, seed: int) -> list[str]:
    """Commit, fork, rewind, restore, delete and collect in any order; tell what was no error of ours."""
    store, chance, problems = CheckpointStore(root), random.Random(seed), list[str]()
    wait()
    for number in range(ACTS):
        model = chance.choice([MAIN, BRANCH])
        try:
            match chance.choice(["commit", "commit", "fork", "overwrite", "rewind", "restore", "delete", "collect"]):
                case "commit":
                    newest = store.newest(model)
                    write_checkpoint(store, model, (newest.ref.step if newest else 0) + 1, parent=newest)
                case "fork":
                    store.fork(store.select(MAIN).checkpoint, ModelRef("shop", f"new-{seed}-{number}"))
                case "overwrite":
                    store.fork(store.select(MAIN).checkpoint, BRANCH, overwrite=True)
                case "rewind":
                    store.rewind(store.open(model.at(chance.choice(store.steps(model) or [0]))))
                case "restore":
                    store.restore(model)
                case "delete":
                    store.delete(store.open(model.at(min(store.steps(model), default=0))))
                case _:
                    store.collect()
        except (NotFoundError, ConflictError):
            continue
        except ArtError as error:
            problems.append(repr(error))
    return problems


def rewind_and_restore(root: Path, times: int) -> None:
    store = CheckpointStore(root)
    wait()
    for _ in range(times):
        store.rewind(store.open(MAIN.at(2)))
        store.restore(MAIN)


def watch_steps(root: Path, times: int) -> set[tuple[int, ...]]:
    store, found = CheckpointStore(root), set[tuple[int, ...]]()
    wait()
    for _ in range(times):
        found.add(tuple(store.steps(MAIN)))
        found.add((store.select(MAIN).checkpoint.ref.step,))
    return found


def append_many(root: Path, writer: int) -> None:
    history = HistoryStore(root)
    wait()
    for step in range(50):
        history.append(MAIN, step, split="train", metrics={"writer": writer})


def test_of_forks_of_different_sources_into_one_model_exactly_one_wins(
    tmp_path: Path, record_property: Callable[[str, object], None]
):
    store = CheckpointStore(tmp_path)
    write_run(store, MAIN, *range(1, PROCESSES + 1))

    outcomes = at_once(fork_many, *((tmp_path, [step] * 8) for step in range(1, PROCESSES + 1)))

    record_property("races", PROCESSES * 8)
    for number, found in enumerate(zip(*outcomes, strict=True)):  # type: ignore[arg-type]
        assert Counter(found) == {"forked": 1, "refused": PROCESSES - 1}
        winner = store.select(ModelRef("shop", f"branch-{number}"))
        assert winner.considered == 1
        assert winner.checkpoint.ref.step == found.index("forked") + 1
        store.verify(winner.checkpoint)
    assert store.debris() == []


def test_of_the_same_fork_in_many_processes_one_is_made_and_the_others_find_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
):
    store = CheckpointStore(tmp_path)
    write_checkpoint(store, MAIN, 5)

    outcomes = at_once(fork_many, *((tmp_path, [5] * 8),) * PROCESSES)

    record_property("races", PROCESSES * 8)
    for found in zip(*outcomes, strict=True):  # type: ignore[arg-type]
        assert Counter(found) == {"forked": 1, "repeated": PROCESSES - 1}
    assert store.debris() == []


def test_of_commits_of_one_step_exactly_one_wins(tmp_path: Path, record_property: Callable[[str, object], None]):
    outcomes = at_once(commit_many, *((tmp_path, list(range(1, 9))),) * PROCESSES)

    record_property("races", PROCESSES * 8)
    for found in zip(*outcomes, strict=True):  # type: ignore[arg-type]
        assert Counter(found) == {"committed": 1, "refused": PROCESSES - 1}
    store = CheckpointStore(tmp_path)
    for step in store.steps(MAIN):
        store.verify(store.open(MAIN.at(step)))
    assert store.debris() == []


def test_processes_that_do_anything_leave_a_sound_root(tmp_path: Path, record_property: Callable[[str, object], None]):
    problems = at_once(do_anything, *((tmp_path, seed) for seed in range(PROCESSES)))

    record_property("races", PROCESSES * ACTS)
    assert problems == [[]] * PROCESSES
    store = CheckpointStore(tmp_path)
    store.collect()
    assert store.debris() == []
    for model in store.models():
        for step in store.steps(model):
            store.verify(store.open(model.at(step)))
        for aside in store.set_aside(model):
            assert aside.steps


def test_a_reader_sees_a_model_before_or_after_a_rewind(tmp_path: Path):
    write_run(CheckpointStore(tmp_path), MAIN, *range(1, 9))

    *_, seen = at_once(do_either, (tmp_path, "move"), (tmp_path, "watch"), (tmp_path, "watch"))

    assert isinstance(seen, set)
    assert seen <= {(1, 2), tuple(range(1, 9)), (2,), (8,)}


def do_either(root: Path, what: str) -> object:
    return rewind_and_restore(root, 20) if what == "move" else watch_steps(root, 150)


def test_lines_of_many_writers_do_not_mix(tmp_path: Path):
    at_once(append_many, *((tmp_path, writer) for writer in range(PROCESSES)))

    entries = HistoryStore(tmp_path).read(MAIN)

    assert Counter(entry.metrics["train/writer"] for entry in entries) == dict.fromkeys(range(PROCESSES), 50)


def note_many(root: Path, writer: int) -> None:
    """Write down what all the others write down too, and a setting of one's own."""
    history, states = HistoryStore(root), States(root)
    wait()
    for step in range(50):
        measured = [(step, "train", {"loss": step / 50}), (step, "val", {"loss": step / 25})]
        history.append_missing(MAIN, measured)
        states.describe(MAIN, {f"{writer}-{step}": step})


def test_what_many_processes_write_down_is_written_once_and_all_of_it(tmp_path: Path):
    at_once(note_many, *((tmp_path, writer) for writer in range(PROCESSES)))

    entries = Counter((entry.step, entry.split) for entry in HistoryStore(tmp_path).read(MAIN))
    assert entries == dict.fromkeys(((step, split) for step in range(50) for split in ("train", "val")), 1)
    assert len(States(tmp_path).described(MAIN)) == 50 * PROCESSES


def test_what_a_rewind_left_is_written_again_and_what_stands_is_not(tmp_path: Path):
    history = HistoryStore(tmp_path)
    for step, loss in ((1, 1.0), (2, 2.0), (1, 1.5)):
        history.append(MAIN, step, split="train", metrics={"loss": loss})

    for _ in range(2):
        history.append_missing(MAIN, [(step, "train", {"loss": loss}) for step, loss in ((1, 1.5), (2, 2.0))])

    assert [entry.metrics["train/loss"] for entry in history.read(MAIN)] == [1.0, 2.0, 1.5, 2.0]


def make_and_remove(root: Path, how: str) -> int:
    """Make a folder again and again, or remove it; gives how often it was removed."""
    folder, removed = root / "above", 0
    wait()
    for _ in range(20_000):
        if how == "make":
            disk.make_folder(folder)
        else:
            with suppress(FileNotFoundError):
                folder.rmdir()
                removed += 1
    return removed


def test_a_folder_that_others_remove_is_made_again(tmp_path: Path):
    *_, removed = at_once(make_and_remove, (tmp_path, "make"), (tmp_path, "make"), (tmp_path, "remove"))

    assert removed


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "above").touch()
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("above", "link"):
        with pytest.raises(FileExistsError):
            disk.make_folder(tmp_path / name)
