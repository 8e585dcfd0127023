"""Every public module, name and parameter of ART's: it is here, or one sentence says what to use."""

import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import art
from art.errors import ConfigurationError
from art.metrics import MetricsBuilder

LINES = [line for line in Path(__file__).with_name("names_of_art.txt").read_text().splitlines() if line[0] != "#"]
CALLS = [line for line in LINES if line.endswith(")")]
MODULES = [line for line in LINES if not line.endswith(")")]


@pytest.mark.parametrize("line", MODULES, ids=lambda line: line.partition(":")[0])
def test_every_public_name_is_here_or_says_what_to_use(line: str):
    module, _, names = line.partition(":")
    statements = [f"from {module} import {name}" for name in names.split()] or [f"import {module}"]

    refusals = [refusal for statement in statements if (refusal := refusal_of(statement))]

    bare = [words for words in refusals if not re.search(r"There is no \S+ here: .|pip install", words)]
    assert bare == []


@pytest.mark.parametrize("line", CALLS, ids=lambda line: line.partition("(")[0])
def test_every_parameter_is_accepted(line: str):
    path, _, names = line.removesuffix(")").partition("(")
    parameters = inspect.signature(called(path)).parameters

    refused = [name for name in names.split(", ") if name not in parameters]

    assert not refused or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def refusal_of(statement: str) -> str:
    try:
        exec(statement, {})
    except ImportError as error:
        return str(error)
    return ""


def called(path: str) -> Any:
    """Give what a dotted path leads to: the longest module on it, then its attributes."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            thing = getattr(thing, name)
        return thing
    raise AssertionError(path)


class Scored(art.Trajectory):
    scenario: str = ""


class Wrapped(art.Trajectory):
    def __init__(self, task: str, **fields: Any) -> None:
        super().__init__(metadata={"task": task}, **fields)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (
            art.Trajectory,
            {"rewrad": 1.0},
            r"no field 'rewrad', and leaves it out\. Did you mean reward\?",
        ),
        (art.Trajectory, {"exchanges": []}, r"no field 'exchanges', and leaves it out\. .*trajectory\.histories\(\)"),
        (
            functools.partial(art.TrajectoryGroup, []),
            {"metadta": {}},
            r"Did you mean metadata\?",
        ),
        (art.History, {"messages_and_choices": [], "tool": []}, r"Did you mean tools\?"),
        (Scored, {"scenari": "a"}, r"Did you mean scenario\?"),
    ],
)
def test_a_field_that_is_left_out_is_named_with_the_nearest_name(kind: Any, given: dict[str, Any], words: str):
    with pytest.warns(UserWarning, match=words):
        kind(**given)


def test_fields_of_a_users_own_and_what_files_hold_are_no_news():
    assert Scored(scenario="a", final_policy_version=None).scenario == "a"  # pyright: ignore[reportCallIssue]
    assert Wrapped(task="a").metadata == {"task": "a"}
    assert art.Trajectory.model_validate({"later": 1}).reward == 0
    assert len(art.TrajectoryGroup.model_validate({"trajectories": [{"later": 1}], "later": 1})) == 1


def test_none_for_a_field_of_a_group_is_its_default():
    group = art.TrajectoryGroup([], metadata=None, metrics=None, logs=None)

    group.log("made")
    assert (group.metadata, group.metrics, group.logs) == ({}, {}, ["made"])


def test_what_stands_for_any_backend_cannot_be_made():
    with pytest.raises(ConfigurationError, match=r"use art\.local\.LocalBackend there"):
        art.Backend(base_url="http://host:7999")  # pyright: ignore[reportAbstractUsage]


def test_a_builder_says_of_what_it_has_not_what_to_use():
    with pytest.raises(AttributeError, match=r"flush\(\) gives what waits"):
        MetricsBuilder("train").drain_pending  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
