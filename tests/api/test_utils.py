"""What scripts import from `art.utils` and `art.guided_completion`: paths, steps, text, and a teacher's answers."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openai.types.chat import ChatCompletion

import art
from api.world import World, two_groups
from art.errors import ConfigurationError
from art.gather import get_gather_context
from art.guided_completion import get_guided_completion_params
from art.utils import get_model_step, strip_logprobs
from art.utils.get_model_step import get_step_from_dir
from art.utils.output_dirs import (
    get_model_dir,
    get_models_dir,
    get_output_dir_from_model_properties,
    get_step_checkpoint_dir,
    get_trajectories_dir,
    get_trajectories_split_dir,
)
from art.utils.trajectory_logging import deserialize_trajectory_groups, serialize_trajectory_groups

ADD: Any = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def test_a_models_folders_are_those_that_training_writes(world: World):
    root = str(world.backend.store.root)
    result = world.run(world.backend.train(world.model, world.run(two_groups(world.model))))

    folder = get_model_dir(world.model, root)

    assert (
        folder == get_output_dir_from_model_properties("api", "agent", root) == f"{get_models_dir('api', root)}/agent"
    )
    assert get_step_checkpoint_dir(folder, result.step) == str(result.path)
    assert Path(get_trajectories_split_dir(folder, "train")).parent == Path(get_trajectories_dir(folder))
    assert (Path(get_trajectories_split_dir(folder, "train")) / f"{result.step - 1:04}.jsonl").exists()
    assert get_model_step(world.model, root) == get_step_from_dir(folder) == result.step


def test_the_step_of_a_model_that_was_never_trained_is_0(tmp_path: Path):
    assert get_model_step(art.TrainableModel("new", "api", "base"), str(tmp_path)) == 0
    assert get_step_from_dir(str(tmp_path / "nothing")) == 0


def test_stripped_trajectories_keep_their_text_and_lose_what_only_training_reads(world: World):
    groups = world.run(two_groups(world.model))
    before = groups[0].model_dump_json()

    stripped = strip_logprobs({"groups": groups})["groups"]

    assert groups[0].model_dump_json() == before
    assert [t.messages() for t in stripped[0]] == [t.messages() for t in groups[0]]
    text = stripped[0].model_dump_json()
    assert [name for name in ("token_ids", "token_logprobs", "prompt_token_ids", "token_id:") if name in text] == []
    assert len(text) < 0.7 * len(before)


class Answer:
    """An object of a script's own."""

    def __init__(self, beside: object = None) -> None:
        self.logprobs = [0.5]
        self.nested = {"kept": 1, "logprobs": 2}
        self.beside = beside


class Pair(NamedTuple):
    first: dict[str, Any]
    second: int


def test_objects_of_other_kinds_are_stripped_in_a_copy():
    answer = Answer()

    stripped, pair = strip_logprobs([answer, Pair({"logprobs": 1}, 2)])

    assert (stripped.logprobs, stripped.nested) == (None, {"kept": 1})
    assert (answer.logprobs, answer.nested) == ([0.5], {"kept": 1, "logprobs": 2})
    assert pair == Pair({}, 2)
    assert strip_logprobs(Answer) is Answer


def test_what_cannot_be_copied_is_left_as_it_is_and_said(caplog: pytest.LogCaptureFixture):
    class Stubborn(Answer):
        def __copy__(self) -> Answer:
            raise RuntimeError("no copies")

    stubborn = Stubborn()

    assert strip_logprobs(stubborn) is stubborn
    assert "Stubborn as it is, which cannot be copied: no copies" in caplog.text


def test_groups_as_text_come_back():
    groups = [art.TrajectoryGroup([art.Trajectory(reward=reward, metadata={"id": "x"})]) for reward in (0.5, 1.5)]

    again = deserialize_trajectory_groups(serialize_trajectory_groups(groups))

    assert [[trajectory.reward for trajectory in group] for group in again] == [[0.5], [1.5]]


def test_a_rollout_sees_the_gathering_that_it_belongs_to():
    seen: list[int | None] = []

    async def rollout() -> art.Trajectory:
        seen.append(get_gather_context().max_metrics)
        return art.Trajectory(reward=1)

    asyncio.run(art.gather_trajectory_groups([art.TrajectoryGroup([rollout()])], pbar_desc=None, max_metrics=3))

    assert seen == [3]
    assert get_gather_context().max_metrics is None


def completion(message: dict[str, Any]) -> ChatCompletion:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return ChatCompletion.model_validate(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "teacher", "choices": [choice]}
    )


def test_a_teachers_text_is_the_students_only_choice():
    assert get_guided_completion_params(completion({"content": "42"})) == (["42"], None, None)


def test_a_teachers_tool_call_is_the_students_only_call():
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": ["x"]}'}}

    choice, tool_choice, tools = get_guided_completion_params(completion({"tool_calls": [call]}), [ADD])

    assert choice is None
    assert tool_choice == {"type": "function", "function": {"name": "add"}}
    assert tools is not None
    assert tools[0]["function"]["parameters"] == {  # pyright: ignore[reportTypedDictNotRequiredAccess]
        "type": "object",
        "properties": {"a": {"enum": [1]}, "b": {"enum": [["x"]]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert ADD["function"]["parameters"]["properties"] == {"a": {"type": "integer"}}


def test_a_teachers_call_of_a_tool_that_nobody_has_is_refused():
    call = {"id": "c", "type": "function", "function": {"name": "sub", "arguments": "{}"}}

    with pytest.raises(ConfigurationError, match="called 'sub'; base_tools has add"):
        get_guided_completion_params(completion({"tool_calls": [call]}), [ADD])


def test_the_address_of_a_model_in_a_bucket(monkeypatch: pytest.MonkeyPatch):
    from art.utils.s3 import build_s3_path

    named = {"model_name": "agent", "project": "shop"}

    assert build_s3_path(**named, s3_bucket="bucket", prefix="/runs/") == "s3://bucket/runs/shop/models/agent"
    assert build_s3_path(**named, s3_bucket="bucket", step=7) == "s3://bucket/shop/models/agent/checkpoints/0007"
    monkeypatch.setenv("BACKUP_BUCKET", "gs://other/below")
    assert build_s3_path(**named) == "gs://other/below/shop/models/agent"
    monkeypatch.delenv("BACKUP_BUCKET")
    with pytest.raises(ConfigurationError, match="BACKUP_BUCKET"):
        build_s3_path(**named)
