"""Trajectories and groups as values: built, changed, written as JSON and read again."""

from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice
from pydantic import ValidationError

import art
from art.trajectories import History, Trajectory, TrajectoryGroup

TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


def choice(content: str | None = "42", **extra: object) -> Choice:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if content is None:
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
        message["tool_calls"] = [call]
    return Choice.model_validate({"index": 0, "finish_reason": "stop", "message": message, "logprobs": None, **extra})


def full() -> Trajectory:
    """A trajectory that uses every field."""
    return Trajectory(
        messages_and_choices=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "20 + 22?"}]},
            choice(None, token_ids=[1, 2], token_logprobs=[-0.5, -0.25], prompt_token_ids=[7], temperature=1.0),
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            choice(),
        ],
        reward=0.5,
        metrics={"turns": 2, "exact": True, "score": 0.25},
        metadata={"id": "x", "difficulty": 3, "nothing": None},
        tools=TOOLS,
        additional_histories=[History(messages_and_choices=[{"role": "user", "content": "again"}, choice("yes")])],
    )


def test_a_trajectory_survives_json_choices_and_token_ids_included():
    trajectory = full()
    trajectory.log("first line")

    again = Trajectory.model_validate_json(trajectory.model_dump_json())

    assert again == trajectory
    assert [type(item) for item in again.messages_and_choices] == [dict, dict, Choice, dict, Choice]
    sampled = again.messages_and_choices[2]
    assert isinstance(sampled, Choice)
    assert sampled.model_extra == {
        "token_ids": [1, 2], "token_logprobs": [-0.5, -0.25], "prompt_token_ids": [7], "temperature": 1.0,
    }  # fmt: skip


def test_a_group_survives_json():
    group = TrajectoryGroup([full(), full()], metadata={"question": "20 + 22?"})

    again = TrajectoryGroup.model_validate_json(group.model_dump_json())

    assert again.trajectories == group.trajectories
    assert again.metadata == {"question": "20 + 22?"}


def test_messages_are_plain_dicts_that_can_be_sent_again():
    messages = full().messages()

    assert messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "20 + 22?"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "42"},
    ]


def test_a_message_object_of_the_client_becomes_a_plain_dict_too():
    trajectory = Trajectory(messages_and_choices=[choice("hi").message])  # pyright: ignore

    assert trajectory.messages() == [{"role": "assistant", "content": "hi"}]


def test_everything_stays_mutable():
    trajectory = Trajectory()
    trajectory.messages_and_choices.append({"role": "user", "content": "hi"})
    trajectory.messages_and_choices.append(choice())
    trajectory.reward = 2
    trajectory.reward += 0.5
    trajectory.metrics["x"] = 1
    trajectory.metadata["y"] = "z"
    trajectory.log("a line")

    assert len(trajectory.messages()) == 2
    assert (trajectory.reward, trajectory.metrics, trajectory.metadata) == (2.5, {"x": 1}, {"y": "z"})
    assert trajectory.logs == ["a line"]


def test_trajectories_share_nothing():
    first, second = Trajectory(), Trajectory()
    first.metrics["x"] = 1
    first.log("line")
    first.messages_and_choices.append(choice())

    assert (second.metrics, second.logs, second.messages_and_choices) == ({}, [], [])


def test_finish_notes_how_long_it_took():
    assert Trajectory().finish().metrics["duration_s"] >= 0


def test_model_validate_reads_what_scripts_write_as_dicts():
    trajectory = Trajectory.model_validate(
        {"messages_and_choices": [{"role": "user", "content": "hi"}, choice().model_dump()], "reward": 1}
    )

    assert isinstance(trajectory.messages_and_choices[1], Choice)
    assert trajectory.reward == 1.0


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(ValidationError, match="reward"):
        Trajectory(reward="good")  # pyright: ignore


def test_a_group_takes_trajectories_and_exceptions_in_either_place():
    group = TrajectoryGroup([full(), ValueError("one")], exceptions=[KeyError("two")])

    assert len(group) == 1
    assert [type(error) for error in group.exceptions] == [KeyError, ValueError]


def test_a_group_may_be_named_by_keyword_and_iterated():
    group = art.TrajectoryGroup(trajectories=[art.Trajectory(reward=1), art.Trajectory(reward=2)])

    assert [trajectory.reward for trajectory in group] == [1, 2]


def test_a_group_says_when_something_in_it_is_no_trajectory():
    with pytest.raises(art.errors.TrainingDataError, match=r"str.*not an art\.Trajectory"):
        TrajectoryGroup(["hello"])  # pyright: ignore
