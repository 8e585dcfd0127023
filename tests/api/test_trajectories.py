"""Trajectories and groups as values: built, changed, written as JSON and read again."""

import asyncio
import copy
from datetime import datetime, timedelta
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
            "content": "",
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
    trajectory = Trajectory(start_time=datetime.now() - timedelta(seconds=5))  # noqa: DTZ005 - as scripts write it

    assert trajectory.finish() is trajectory
    assert 5 <= trajectory.metrics["duration"] < 60


def test_durations_of_blocks_add_up_also_when_one_raises():
    trajectory = Trajectory()

    async def body() -> None:
        async with trajectory.track_duration("llm_completion"):
            await asyncio.sleep(0.01)

    asyncio.run(body())
    first = trajectory.metrics["llm_completion_duration"]
    with pytest.raises(ValueError, match="no"), trajectory.track_duration("llm_completion"):
        raise ValueError("no")

    assert first >= 0.01
    assert first < trajectory.metrics["llm_completion_duration"] < first + 1


def test_what_is_logged_says_which_messages_were_sampled():
    trajectory = full()
    trajectory.log("a line")

    told = trajectory.for_logging()

    assert [message["trainable"] for message in told["messages"]] == [False, False, True, False, True]
    assert told["messages"][4]["content"] == "42"
    assert (told["reward"], told["logs"], told["tools"]) == (0.5, ["a line"], TOOLS)
    assert (told["metrics"], told["metadata"]) == (trajectory.metrics, trajectory.metadata)


def test_a_trajectory_of_a_users_own_class_keeps_its_fields_in_a_group():
    class Answered(Trajectory):
        answer: str | None = None

    group = TrajectoryGroup([Answered(answer="42", reward=1)])
    copied = group.trajectories[0].model_copy(deep=True)

    assert isinstance(copied, Answered)
    assert copied.answer == "42"
    assert '"answer":"42"' in group.model_dump_json()


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
    assert [(failed.type, failed.message) for failed in group.exceptions] == [
        ("KeyError", "'two'"),
        ("ValueError", "one"),
    ]


def test_exceptions_metrics_and_logs_of_a_group_survive_json():
    group = TrajectoryGroup([full(), _raised()], metrics={"difficulty": 3}, metadata={"id": 1}, logs=["first"])
    group.log("second")

    again = TrajectoryGroup.model_validate_json(group.model_dump_json())

    assert [(failed.type, str(failed)) for failed in again.exceptions] == [("RuntimeError", "no answer")]
    assert "in _raised" in again.exceptions[0].traceback
    assert (again.metrics, again.metadata, again.logs) == ({"difficulty": 3}, {"id": 1}, ["first", "second"])


def _raised() -> RuntimeError:
    try:
        raise RuntimeError("no answer")
    except RuntimeError as error:
        return error


def test_none_among_the_trajectories_is_ignored():
    assert len(TrajectoryGroup([None, Trajectory(reward=1), None])) == 1


def test_a_shallow_copy_of_a_group_shares_trajectories_and_grows_by_itself():
    group = TrajectoryGroup([full()], metadata={"id": 1})

    copied = copy.copy(group)
    copied.trajectories.append(Trajectory())
    copied.metadata["id"] = 2

    assert copied.trajectories[0] is group.trajectories[0]
    assert (len(group), group.metadata) == (1, {"id": 1})


def test_a_deep_copy_of_a_group_shares_nothing_that_changes():
    class Awkward(Exception):
        """Like many exceptions of clients, one that `copy` cannot make again."""

        def __init__(self, *, response: str) -> None:
            super().__init__(f"got {response}")

    group = TrajectoryGroup([full(), Awkward(response="500")])

    copied = group.model_copy(deep=True)
    copied.trajectories[0].reward = 9
    copied.trajectories[0].metrics["turns"] = 9

    assert (group.trajectories[0].reward, group.trajectories[0].metrics["turns"]) == (0.5, 2)
    assert [failed.message for failed in copied.exceptions] == ["got 500"]


def test_a_group_may_be_named_by_keyword_and_iterated():
    group = art.TrajectoryGroup(trajectories=[art.Trajectory(reward=1), art.Trajectory(reward=2)])

    assert [trajectory.reward for trajectory in group] == [1, 2]


def test_a_group_says_when_something_in_it_is_no_trajectory():
    with pytest.raises(art.errors.TrainingDataError, match=r"str.*not an art\.Trajectory"):
        TrajectoryGroup(["hello"])  # pyright: ignore
