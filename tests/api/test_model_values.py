"""Models as values: copied, dumped, subclassed, pickled, used as fields and changed, as scripts do."""

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import art
from api.world import Settings
from art.errors import ConfigurationError, InvalidNameError
from art.local import LocalBackend

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy(deep=True)": lambda model: model.model_copy(deep=True),
}


class Agent(art.TrainableModel[Settings]):
    """A user's own class of models."""

    max_steps: int = 10


def make(**fields: Any) -> art.TrainableModel[Settings]:
    return art.TrainableModel(name="agent", project="api", base_model="base", config=Settings(max_turns=5), **fields)


@pytest.mark.parametrize("spelling", COPIES)
def test_a_copy_stays_with_the_backend_and_gets_connections_of_its_own(spelling: str, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            teacher = art.Model("teacher", "api", inference_base_url="https://models.example/v1", config=Settings())
            await teacher.register(backend)
            client = teacher.openai_client()

            copied = COPIES[spelling](teacher)
            copied.name = "other"

            assert copied.backend() is backend
            assert copied.openai_client() is not client
            assert teacher.openai_client() is client
            assert (teacher.name, copied.name, copied.config) == ("teacher", "other", teacher.config)
            await copied.disconnect()

    asyncio.run(body())


def test_a_deep_copy_has_a_config_and_a_state_of_its_own():
    model = make(_internal_config={"peft_args": {"r": 4}})
    model.state = {"position": 1}

    copied = model.model_copy(deep=True)
    copied.state["position"] = 2
    copied.config.max_turns = 9

    assert (model.state, model.config.max_turns) == ({"position": 1}, 5)
    assert copied.lora == model.lora == art.LoRAConfig(rank=4)


def test_a_dump_reads_back_and_holds_nothing_that_lives():
    model = make(entity="team", base_path="elsewhere", report_metrics=["reward"], id="run-1")

    dumped = model.model_dump()
    again = art.TrainableModel[Settings].model_validate(dumped)

    assert not [name for name in dumped if name.startswith("_") or name in ("backend", "ref")]
    assert (again.name, again.config, again.entity, again.id) == ("agent", Settings(max_turns=5), "team", "run-1")
    assert (again.base_path, again.report_metrics, again.trainable) == ("elsewhere", ["reward"], True)
    assert art.TrainableModel[Settings].model_validate_json(model.model_dump_json()) == again


@pytest.mark.parametrize("read", [lambda dumped: art.TrainableModel(**dumped), art.TrainableModel.model_validate])
def test_a_dump_carries_the_shape_and_the_internal_settings(read: Callable[[Any], art.TrainableModel]):
    internal: Any = {"init_args": {"max_seq_length": 64}, "peft_args": {"r": 2}}
    model = art.TrainableModel("agent", "api", "base", _internal_config=internal)
    shaped = art.TrainableModel("agent", "api", "base", lora=art.LoRAConfig(rank=3))

    dumped = json.loads(json.dumps(model.model_dump()))

    assert dumped == json.loads(model.model_dump_json())
    assert read(dumped).settings == dumped["_internal_config"] == internal
    assert (read(dumped).lora, read(shaped.model_dump()).lora) == (model.lora, shaped.lora)
    assert "_internal_config" in model.safe_model_dump()


def test_a_registered_model_is_pickled_without_its_backend(tmp_path: Path):
    async def body() -> bytes:
        async with LocalBackend(path=tmp_path) as backend:
            teacher = art.Model("teacher", "api", inference_base_url="https://models.example/v1")
            await teacher.register(backend)
            teacher.openai_client()
            return pickle.dumps(teacher)

    again = pickle.loads(asyncio.run(body()))

    assert (again.name, again.inference_base_url) == ("teacher", "https://models.example/v1")
    with pytest.raises(art.errors.NotRegisteredError):
        again.backend()


def test_a_model_is_a_field_of_other_models_and_stays_the_object_it_was():
    class Experiment(BaseModel):
        model: art.Model | None = None
        typed: art.TrainableModel[Settings] | None = None
        several: list[art.Model] = []

    model = make()

    experiment = Experiment(model=model, typed=model, several=[model])

    assert experiment.model is model
    assert experiment.typed is model
    assert experiment.several[0] is model
    assert Experiment().model is None


def test_a_users_class_has_fields_of_its_own():
    agent = Agent(name="agent", project="api", base_model="base", config=Settings(), max_steps=3)

    copied = agent.model_copy(update={"name": "other"})

    assert (agent.max_steps, copied.max_steps, copied.ref) == (3, 3, art.ModelRef("api", "other"))
    assert agent.model_dump()["max_steps"] == 3


def test_a_name_that_changes_changes_where_things_lie():
    model = make()

    model.name = "agent-2"

    assert (model.ref, model.get_inference_name()) == (art.ModelRef("api", "agent-2"), "agent-2")
    assert repr(model) == "TrainableModel('api/agent-2')"


def test_a_misspelt_keyword_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"TrainableModel has no 'entitty'\. Did you mean entity\?"):
        make(entitty="team")


@pytest.mark.parametrize("fields", [{"entity": 3}, {"report_metrics": "reward"}, {"config": 3}])
def test_a_value_that_cannot_be_is_refused_by_name(fields: dict[str, Any]):
    with pytest.raises(ConfigurationError, match=rf"Model: {next(iter(fields))}"):
        art.Model(name="teacher", project="api", **fields)


@pytest.mark.parametrize("name", ["openai/gpt-4.1", "accounts/x/models/y", "a@b", ".hidden"])
def test_a_model_that_is_only_called_may_have_any_name_until_it_needs_a_folder(name: str, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            teacher = art.Model(name=name, project="api", inference_base_url="https://models.example/v1")
            await teacher.register(backend)
            assert teacher.get_inference_name() == name
            assert name in repr(teacher)
            with pytest.raises(InvalidNameError, match="cannot be the name of a model"):
                await teacher.log([art.Trajectory(reward=1)])

    asyncio.run(body())

    assert list(tmp_path.iterdir()) == []


def test_litellm_is_told_where_a_model_answers():
    teacher = art.Model("teacher", "api", inference_model_name="openai/gpt-4.1", inference_api_key="key")
    student = make(inference_base_url="http://127.0.0.1:1/v1")

    assert teacher.litellm_completion_params()["model"] == "openai/gpt-4.1"
    assert teacher.litellm_completion_params()["api_key"] == "key"
    assert student.litellm_completion_params(step=3) == {
        "model": "hosted_vllm/agent@3",
        "base_url": "http://127.0.0.1:1/v1",
        "api_key": None,
        "temperature": 1,
    }
