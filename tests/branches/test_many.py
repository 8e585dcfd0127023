"""Branches off one checkpoint: their names, their bits, their failures, and what a second call finds."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import art
from art.branches import Budget, Executor, InTurn, Outcome, Processes, Ray, Report
from art.branches.many import plan_tasks, run_tasks
from art.branches.variants import Variants, name_of, settled, variants_of
from art.branches.work import Script
from art.errors import ConfigurationError, ConflictError, InvalidNameError, ModelNotFoundError
from art.names import CheckpointRef
from art.store.store import CheckpointStore

from . import training
from .conftest import NAMES, SOURCE, VARIANTS, weights

CHECKPOINT = CheckpointRef.parse(SOURCE)


def fork_many(
    root: Path,
    variants: Variants = VARIANTS,
    train: Any = training.learn,
    *,
    executor: Executor | None = None,
    steps: int = 2,
) -> Report:
    budget = Budget(steps=steps)
    return asyncio.run(
        art.fork_many(SOURCE, variants, train, executor=executor, budget=budget, backend={"path": str(root)})
    )


def stands_at(root: Path, name: str) -> list[int]:
    return CheckpointStore(root).steps(art.ModelRef("shop", name))


def test_each_variant_is_a_model_that_records_what_it_tries(root: Path):
    report = fork_many(root)

    store = CheckpointStore(root)
    newest = [store.newest(art.ModelRef("shop", name)) for name in NAMES]
    assert [result.name for result in report.results] == NAMES
    assert [stands_at(root, name) for name in NAMES] == [[2, 3, 4]] * 2
    assert [one.manifest.ancestry[-1].settings for one in newest if one] == VARIANTS
    assert [one.manifest.settings["learning_rate"] for one in newest if one] == [2e-2, 5e-3]
    assert not report.failed
    assert all(result.used.steps == 2 and result.used.seconds > 0 for result in report.results)


def test_the_same_settings_as_the_trunk_give_the_bits_of_the_trunk(root: Path):
    fork_many(root, steps=1)

    assert weights(root, NAMES[0], 3) == weights(root, "trunk", 3)
    assert weights(root, NAMES[1], 3) != weights(root, "trunk", 3)


@pytest.mark.slow
def test_processes_give_the_bits_of_one_after_the_other(root: Path, trunk: Path, tmp_path: Path):
    other = shutil.copytree(trunk, tmp_path / "b")
    variants = [VARIANTS[0], {"fails": True}]

    fork_many(root, variants, training.learn_or_fail)
    report = fork_many(other, variants, training.learn_or_fail, executor=Processes(workers=2))

    assert [result.outcome for result in report.results] == [Outcome.FINISHED, Outcome.FAILED]
    assert report.results[-1].problem == "KeyError: 'no such tool'"
    for step in (3, 4):
        assert weights(other, NAMES[0], step) == weights(root, NAMES[0], step)


def test_a_second_call_goes_on_where_the_first_ended(root: Path):
    fork_many(root, steps=1)
    report = fork_many(root, steps=3)
    again = fork_many(root, steps=3)

    assert [result.value for result in report.results] == [2, 2]
    assert [result.value for result in again.results] == [0, 0]
    assert [stands_at(root, name) for name in NAMES] == [[2, 3, 4, 5]] * 2


def test_the_failure_of_one_branch_is_its_result_and_the_others_go_on(root: Path):
    variants = [{"fails": True}, {"fails": False}]

    report = fork_many(root, variants, training.learn_or_fail)

    failed, other = report.results
    assert (failed.outcome, failed.step) == (Outcome.FAILED, 3)
    assert failed.problem == "KeyError: 'no such tool'"
    assert (other.outcome, other.step) == (Outcome.FINISHED, 4)
    assert report.failed == (failed,)


@pytest.mark.parametrize(
    ("code", "problem"),
    [(3, "RuntimeError: sys.exit(3) was called"), ("no", "RuntimeError: sys.exit('no') was called")],
)
def test_a_branch_that_ends_the_program_ends_itself_alone(root: Path, code: int | str, problem: str):
    report = fork_many(root, [{"exits": code}, {"exits": 0}, {"learning_rate": 1e-3}], training.learn_or_exit)

    failed, ended, other = report.results
    assert (failed.outcome, failed.problem) == (Outcome.FAILED, problem)
    assert (ended.outcome, ended.problem, ended.step) == (Outcome.FINISHED, None, 2)
    assert (other.outcome, other.step) == (Outcome.FINISHED, 4)


@pytest.mark.slow
def test_a_killed_worker_costs_the_step_it_was_in_and_no_bit(root: Path, trunk: Path, tmp_path: Path):
    other = shutil.copytree(trunk, tmp_path / "b")
    fork_many(root, VARIANTS[:1])

    report = fork_many(other, VARIANTS[:1], training.learn_and_be_killed, executor=Processes(workers=1))

    (result,) = report.results
    assert (result.outcome, result.restarts, result.value) == (Outcome.FINISHED, 1, 1)
    assert [weights(other, NAMES[0], step) for step in (3, 4)] == [weights(root, NAMES[0], step) for step in (3, 4)]


def test_a_worker_that_is_killed_without_a_step_is_given_up(root: Path, tmp_path: Path):
    (result,) = run_script(root, tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)").results

    assert result.outcome is Outcome.LOST
    assert result.problem == "Its worker was killed by SIGKILL 2 times without a new step"
    assert stands_at(root, NAMES[0]) == [2]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise KeyError('no such tool')", "ended with exit status 1: KeyError: 'no such tool'"),
        ("import sys\nsys.exit(3)", "ended with 3"),
        ("import sys\nsys.exit()", None),
        ("import os\nos._exit(4)", "ended with exit status 4"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "killed by SIGTERM"),
    ],
)
def test_how_a_script_ended_is_told(root: Path, tmp_path: Path, source: str, problem: str | None):
    (result,) = run_script(root, tmp_path, source).results

    assert (result.outcome is Outcome.FINISHED) == (problem is None)
    assert (problem or "") in (result.problem or "")


def run_script(root: Path, folder: Path, source: str) -> Report:
    script = folder / "script.py"
    script.write_text(source)
    backend = {"path": str(root)}
    tasks = plan_tasks(SOURCE, VARIANTS[:1], backend=backend, budget=Budget(), threads=1)
    return asyncio.run(run_tasks(tasks, Script(str(script)), executor=Processes(workers=1, restarts=1)))


def test_branches_are_twins_and_are_compared(root: Path):
    report = fork_many(root, steps=3)

    (twins,) = report.twins
    assert (twins.first.name, twins.second.name) == tuple(NAMES)
    assert (twins.steps, twins.pairs, twins.unpaired) == ((3, 4), 6, 0)
    assert f"{NAMES[1]} earns" in str(report)


def test_settings_that_training_did_not_use_are_told(root: Path):
    report = fork_many(root, VARIANTS[1:], training.learn_with_defaults, steps=1)

    assert report.results[0].unapplied == ("learning_rate",)
    assert "pass branch.config to train" in str(report)


def test_a_branch_is_done_when_its_tokens_are_used_up(root: Path):
    report = asyncio.run(
        art.fork_many(
            SOURCE, VARIANTS[:1], training.learn, budget=Budget(steps=9, tokens=1), backend={"path": str(root)}
        )
    )

    assert report.results[0].used.steps == 1
    assert report.results[0].used.tokens >= 1


def test_without_a_budget_counting_steps_is_refused(root: Path):
    report = asyncio.run(art.fork_many(SOURCE, VARIANTS[:1], training.learn, backend={"path": str(root)}))

    assert "it has no budget" in str(report.results[0].problem)


def test_the_same_settings_under_another_name_are_refused_before_anything_starts(root: Path):
    fork_many(root, {"low": {"learning_rate": 5e-3}}, steps=1)

    with pytest.raises(ConflictError, match=r"shop/low is a branch of shop/trunk@2 with learning_rate=0\.005 already"):
        fork_many(root, [{"learning_rate": 2e-2}, {"learning_rate": 5e-3}])

    assert stands_at(root, NAMES[0]) == []


def test_a_name_that_is_another_branch_is_refused_before_anything_starts(root: Path):
    fork_many(root, {"low": {"learning_rate": 5e-3}}, steps=1)

    with pytest.raises(ConflictError, match=r"began at shop/trunk@2 with learning_rate=0\.005; asked for is"):
        fork_many(root, {"new": {"learning_rate": 1e-4}, "low": {"learning_rate": 1e-3}})

    assert stands_at(root, "new") == []


def test_a_source_that_is_not_there_is_refused(root: Path):
    with pytest.raises(ModelNotFoundError):
        asyncio.run(art.fork_many("shop/nobody", VARIANTS, training.learn, backend={"path": str(root)}))


def test_a_function_that_no_worker_can_find_is_refused(root: Path):
    async def inner(_: object) -> None: ...

    with pytest.raises(ConfigurationError, match="cannot reach a worker"):
        fork_many(root, VARIANTS, inner, executor=Processes(workers=1))


@pytest.mark.parametrize(
    ("variants", "problem"),
    [
        ([], "no variants"),
        ([{"learning_rat": 1e-5}], "Did you mean learning_rate"),
        ([{"learning_rate": "high"}], "learning_rate is 'high'"),
        ([{"learning_rate": 1e-5}, {"learning_rate": 0.00001}], "try the same"),
        ([{"tool": object()}], "cannot be written as JSON"),
        ([{"a": "1-b-2"}, {"a": 1, "b": 2}], "are both called"),
        ([{"plot_tensors": True}], "would change nothing"),
        ({"learning_rate": 1e-5}, "is neither"),
        ("learning_rate", "is neither"),
        ([["learning_rate", 1e-5]], "is neither"),
        (None, "is neither"),
        ({"": {"learning_rate": 1e-5}}, "cannot be the name of a model"),
    ],
)
def test_variants_that_cannot_be_are_refused(variants: Any, problem: str):
    with pytest.raises((ConfigurationError, InvalidNameError), match=problem):
        variants_of(variants, CHECKPOINT)


def test_names_of_art_and_ours_are_one_setting():
    assert settled({"loss_fn": "ppo"}) == settled({"loss": "ppo"}) == {"loss": "ppo"}
    assert settled({"learning_rate": 0}) == {"learning_rate": 0.0}


def test_a_long_or_strange_setting_is_named_by_its_digest():
    named = [name_of(CHECKPOINT, {"prompt": text}) for text in ("be / brief", "x" * 200, "x" * 201)]

    assert len({*named}) == 3
    assert all(art.ModelRef("shop", name) and len(name) < 40 for name in named)


def test_in_turn_refuses_a_script():
    with pytest.raises(ConfigurationError, match="a process of its own"):
        asyncio.run(InTurn().run([], Script("train.py")))


@pytest.mark.parametrize(
    "limit",
    [{"steps": 0}, {"steps": 2.5}, {"steps": True}, {"tokens": -1}, {"seconds": float("inf")}, {"seconds": "60"}],
    ids=lambda limit: next(iter(limit)),
)
def test_a_budget_that_cannot_be_is_refused(limit: dict[str, Any]):
    name, value = next(iter(limit.items()))

    with pytest.raises(ConfigurationError, match=f"A budget of {name}={value!r} cannot be"):
        Budget(**limit)


@pytest.mark.parametrize(
    ("executor", "settings"),
    [
        (Processes, {"workers": 0}),
        (Processes, {"workers": 1.5}),
        (Processes, {"restarts": -1}),
        (Processes, {"threads": 0}),
        (InTurn, {"threads": 0}),
        (Ray, {"threads": True}),
    ],
    ids=["no worker", "half a worker", "restarts", "threads", "in turn", "ray"],
)
def test_an_executor_that_could_do_nothing_is_refused(executor: type[Any], settings: dict[str, Any]):
    with pytest.raises(ConfigurationError, match="give a whole number from"):
        executor(**settings)


GUARDLESS = """
import asyncio, os
import art
from art.branches import Budget, Processes


async def train(branch):
    async for _ in branch.steps():
        pass


print(asyncio.run(art.fork_many(
    os.environ["SOURCE"], [{"a": 1}, {"a": 2}], train, executor=Processes(workers=2), budget=Budget(steps=1),
    backend={"path": os.environ["ROOT"]},
)))
"""


def test_a_script_whose_import_forks_branches_is_told_what_it_lacks(root: Path, tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(GUARDLESS)

    environment = {**os.environ, "SOURCE": SOURCE, "ROOT": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=200
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("began to fork branches itself") == 2
    assert 'under `if __name__ == "__main__":`' in done.stdout
