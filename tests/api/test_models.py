"""Models as a user holds them, and ART's internal settings on them."""

import asyncio
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import art
from api.world import Settings, two_groups
from art.dev import meaning
from art.errors import ConfigurationError, InvalidNameError, LoRAShapeMismatchError
from art.format.manifest import LoRAShape
from art.local import LocalBackend
from art.local.templates import with_template


def make(small_model: Path, **settings: Any) -> art.TrainableModel:
    return art.TrainableModel(name="agent", project="api", base_model=str(small_model), **settings)


def warnings_of(model: art.TrainableModel, root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said while the model is registered."""

    async def register() -> None:
        async with LocalBackend(path=root) as backend:
            await model.register(backend)

    with caplog.at_level(logging.WARNING):
        asyncio.run(register())
    return caplog.messages


def test_a_prompted_teacher_is_a_model_that_is_not_trained(tmp_path: Path):
    teacher = art.Model(
        name="teacher",
        project="api",
        inference_model_name="big-model",
        inference_base_url="https://models.example/v1",
        inference_api_key="key",
    )

    async def register_and_log() -> str:
        async with LocalBackend(path=tmp_path) as backend:
            await teacher.register(backend)
            await teacher.log([art.Trajectory(reward=0.75)], split="val")
            return str(teacher.openai_client().base_url)

    assert asyncio.run(register_and_log()) == "https://models.example/v1/"
    assert not teacher.trainable
    assert teacher.get_inference_name() == "big-model"
    assert '"val/reward": 0.75' in (tmp_path / "api/models/teacher/history.jsonl").read_text()


def test_a_trainable_model_says_what_it_is(small_model: Path):
    model = make(small_model)

    assert (model.name, model.project, model.base_model) == ("agent", "api", str(small_model))
    assert model.trainable
    assert (model.get_inference_name(), model.get_inference_name(step=7)) == ("agent", "agent@7")
    assert repr(model) == "TrainableModel('api/agent')"


def test_the_users_config_stays_the_object_it_was(small_model: Path):
    config = Settings(max_turns=5)

    model = make(small_model, config=config)

    assert model.config is config
    assert art.Model(name="teacher", project="api", config=config).config.max_turns == 5


@pytest.mark.parametrize("arguments", [{"name": "a/b"}, {"name": ""}, {"project": ".."}, {"name": "a@3"}])
def test_a_name_that_cannot_be_a_folder_is_refused_at_once(arguments: dict[str, str]):
    with pytest.raises(InvalidNameError, match="cannot be the name of"):
        art.TrainableModel(**{"name": "agent", "project": "api", "base_model": "base", **arguments})


NO_BASES = [
    None,
    "",
    "  ",
    0,
    5,
    10**5000,
    1.5,
    math.nan,
    True,
    b"x",
    [],
    ["x"],
    {},
    object(),
    "x" * 10**6,
    "\0",
    "a\nb",
    "\ud800",
]


@pytest.mark.parametrize("base_model", NO_BASES, ids=lambda value: type(value).__name__)
def test_a_model_without_a_base_is_refused_at_once(base_model: Any):
    with pytest.raises(ConfigurationError, match="needs a base_model") as refused:
        art.TrainableModel(name="one", project="p", base_model=base_model)

    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "field", ["name", "project", "lora_config", "id", "run_id", "report_metrics", "inference_base_url"]
)
@pytest.mark.parametrize(
    "value", [10**5000, 1.5, True, object(), [1], "x" * 10**6], ids=lambda value: type(value).__name__
)
def test_what_is_no_value_of_a_model_is_refused_in_one_short_error(field: str, value: Any):
    if field in ("id", "run_id", "inference_base_url") and isinstance(value, str):
        pytest.skip("any text may stand there")

    fields: dict[str, Any] = {"name": "one", "project": "p", "base_model": "b", field: value}

    with pytest.raises((ConfigurationError, InvalidNameError), match=field) as refused:
        art.TrainableModel(**fields)

    assert len(str(refused.value)) < 1000


def test_unknown_settings_are_named_in_one_warning(small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    internal: Any = art.dev.InternalModelConfig(
        init_args=art.dev.InitArgs(max_seq_length=512, fast_inference=True),  # pyright: ignore
        engine_args=art.dev.EngineArgs(enforce_eager=True),  # pyright: ignore
        peft_args=art.dev.PeftArgs(r=4, use_gradient_checkpointing="x"),  # pyright: ignore
        trainer_args=art.dev.TrainerArgs(max_grad_norm=0.5),
        tinker_args=art.dev.TinkerArgs(renderer_name="x"),
        torchtune_args=art.dev.TorchtuneArgs(model="x", model_type="X"),
    )

    messages = warnings_of(make(small_model, _internal_config=internal), tmp_path, caplog)

    (message,) = messages
    assert message.startswith("api/agent: _internal_config: no meaning here, ignored: engine_args.enforce_eager (")
    assert "init_args.fast_inference (settings of Unsloth's loader)" in message
    assert "peft_args.use_gradient_checkpointing (adapters have plain" in message
    assert "tinker_args (trains at Tinker), torchtune_args (trains with torchtune)" in message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"init_arg": {}}, r"init_args"),
        ({"chat_template_kwarg": {}}, r"chat_template_kwargs"),
        ({"init_args": {"max_seq_lenght": 4}}, r"max_seq_length"),
        ({"engine_args": {"max_model_length": 4}}, r"max_model_len"),
        ({"trainer_args": {"wieght_decay": 4}}, r"weight_decay"),
    ],
)
def test_a_misspelt_setting_is_an_error_with_the_nearest_name(small_model: Path, given: Any, meant: str):
    with pytest.raises(ConfigurationError, match=rf"_internal_config.* has no .*Did you mean {meant}\?"):
        meaning.without_meaning(given, where=f"{make(small_model).ref}: _internal_config")


def test_names_of_arts_are_no_misspellings():
    assert meaning.without_meaning({"init_args": {"load_in_8bit": True, "load_in_16bit": False}}, where="x") == [
        "init_args.load_in_16bit, init_args.load_in_8bit (settings of Unsloth's loader)"
    ]


# The chat template that a script sets

TEMPLATE = "{{ tone if tone is defined else 'plain' }}{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("internal", "expected"),
    [
        ({"chat_template": TEMPLATE}, "plainhi"),
        ({"chat_template": TEMPLATE, "chat_template_kwargs": {"tone": "it's \"odd\" %} {"}}, "it's \"odd\" %} {hi"),
        ({"chat_template": TEMPLATE, "chat_template_kwargs": {"tone": [1, None, {"a": False}]}},
         "[1, None, {'a': False}]hi"),
    ],
)  # fmt: skip
def test_inference_and_training_write_prompts_with_the_template_that_was_set(
    small_model: Path, tmp_path: Path, internal: Any, expected: str
):
    model = make(small_model, _internal_config=internal)
    asked: Any = [{"role": "user", "content": "hi"}]

    async def train() -> tuple[str, str, art.TrainResult]:
        async with LocalBackend(path=tmp_path) as backend:
            await model.register(backend)
            create = model.openai_client().chat.completions.create
            tokenizer = backend._sessions.base_of(model).tokenizer
            answers = [await create(model=model.name, messages=asked, max_tokens=4) for _ in range(2)]
            own: Any = {"chat_template_kwargs": {"tone": "own"}}
            other = await create(model=model.name, messages=asked, max_tokens=4, extra_body=own)
            prompts = [tokenizer.decode(each.choices[0].prompt_token_ids) for each in (answers[0], other)]  # type: ignore[attr-defined]
            for each in answers:  # as a client leaves them that keeps nothing of ours, and rounds
                each.choices[0].model_extra.clear()  # pyright: ignore[reportOptionalMemberAccess]
                each.choices[0].logprobs.content[0].logprob -= 1e-6  # type: ignore[union-attr, index]
            group = art.TrajectoryGroup(
                art.Trajectory(messages_and_choices=[*asked, each.choices[0]], reward=reward)
                for reward, each in enumerate(answers)
            )
            return prompts[0], prompts[1], await model.train([group])

    prompt, with_its_own, result = asyncio.run(train())

    assert (prompt, with_its_own) == (expected, "ownhi")
    assert result.metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


def test_a_template_in_a_file_is_read(small_model: Path, tmp_path: Path):
    file = tmp_path / "template.jinja"
    file.write_text(TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(small_model)

    own = with_template(tokenizer, {"chat_template_path": file})

    assert own.chat_template == TEMPLATE != tokenizer.chat_template
    assert with_template(tokenizer, {}) is tokenizer


@pytest.mark.parametrize(
    ("internal", "why"),
    [
        ({"chat_template": "", "chat_template_path": "x"}, "name the template once"),
        ({"chat_template_path": "/nowhere/at/all"}, "cannot be read"),
        ({"chat_template_kwargs": {"messages": []}}, "must not set 'messages'"),
        ({"chat_template_kwargs": {"a b": 1}}, "must not set 'a b'"),
        ({"chat_template_kwargs": {"a": math.nan}}, "JSON has no form"),
        ({"chat_template_kwargs": ["a"]}, "give a mapping"),
    ],
)
def test_a_template_that_cannot_be_is_refused(small_model: Path, internal: Any, why: str):
    with pytest.raises(ConfigurationError, match=why):
        with_template(AutoTokenizer.from_pretrained(small_model), internal)


def test_settings_with_a_meaning_are_used_without_a_word(
    small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    model = make(small_model)
    model._internal_config = art.dev.InternalModelConfig(  # set afterwards, as many scripts do
        init_args={"max_seq_length": 64},
        peft_args={"r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
    )

    assert warnings_of(model, tmp_path, caplog) == []
    assert model.lora == art.LoRAConfig(rank=2, alpha=4, dropout=0.1, targets=("q_proj", "v_proj"))


def test_a_shape_that_is_set_after_the_model_was_made_is_its_shape(small_model: Path, tmp_path: Path):
    model = make(small_model)
    model.lora_config = {"rank": 2, "alpha": 4}

    async def train() -> LoRAShape | None:
        async with LocalBackend(path=tmp_path) as backend:
            await model.register(backend)
            result = await model.train(await two_groups(model))
            return backend.store.open(model.ref.at(result.step)).manifest.lora

    shape = asyncio.run(train())
    assert shape
    assert (shape.rank, shape.alpha) == (2, 4)
    with pytest.raises(ConfigurationError, match=r"no setting 'rnak'\. Did you mean rank\?"):
        model.lora_config = {"rnak": 2}
    assert model.lora_config == {"rank": 2, "alpha": 4}


@pytest.mark.parametrize("name", ["lora_config", "_internal_config"])
def test_a_setting_that_comes_after_registering_is_said_to_be_late(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async def late() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = art.TrainableModel(name="agent", project="api", base_model="base")
            model._bind(backend)
            setattr(model, name, {})

    asyncio.run(late())

    assert f"api/agent: {name} was set after the model was registered" in caplog.text


def test_the_context_length_that_was_set_bounds_conversations(small_model: Path, tmp_path: Path):
    model = make(small_model, _internal_config={"init_args": {"max_seq_length": 64}})

    async def ask() -> int:
        async with LocalBackend(path=tmp_path) as backend:
            await model.register(backend)
            completion = await model.openai_client().chat.completions.create(
                model=model.name, messages=[{"role": "user", "content": "hi"}], max_tokens=500
            )
            assert completion.usage
            return completion.usage.total_tokens

    assert asyncio.run(ask()) <= 64


def test_a_registered_model_says_by_which_name_it_is_asked(small_model: Path, tmp_path: Path):
    model = make(small_model)

    async def ask() -> str:
        async with LocalBackend(path=tmp_path) as backend:
            await model.register(backend)
            messages: Any = [{"role": "user", "content": "hi"}]
            extra = {"return_token_ids": True, "return_tokens_as_token_ids": True}
            answer = await model.openai_client().chat.completions.create(
                model=str(model.inference_model_name), messages=messages, max_tokens=2, extra_body=extra
            )
            return answer.model

    assert (model.inference_model_name, asyncio.run(ask())) == (None, "agent")
    assert model.get_inference_name(3) == "agent@3"


def test_the_rank_that_was_set_meets_the_checkpoints_shape(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = make(small_model, _internal_config={"peft_args": {"r": 2}})
            await model.register(backend)
            await model.train(await two_groups(model))
        async with LocalBackend(path=tmp_path) as backend:
            await make(small_model, _internal_config={"peft_args": {"r": 4}}).register(backend)

    with pytest.raises(LoRAShapeMismatchError, match=r"rank 2.*asks for rank 4"):
        asyncio.run(body())


def test_inference_listens_on_the_port_that_was_asked_for(
    small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, free_port: int
):
    model = make(small_model)

    async def register() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            listen: Any = {"server_args": {"port": free_port, "uvloop": True}, "engine_args": {"x": 1}}
            await model.register(backend, _openai_client_config=listen)

    with caplog.at_level(logging.WARNING):
        asyncio.run(register())

    assert model.inference_base_url == f"http://127.0.0.1:{free_port}/v1"
    (message,) = caplog.messages
    assert message.startswith(
        "api/agent: _openai_client_config: no meaning here, ignored: engine_args (settings of vLLM"
    )
    assert "server_args.uvloop (LocalBackend(host=" in message


def test_a_model_that_is_only_called_has_its_plain_name_at_the_step_where_it_stands():
    teacher = art.Model(name="teacher", project="p", inference_model_name="openai/gpt-5")
    served_elsewhere = art.Model(name="agent", project="p")
    trained = art.TrainableModel(name="agent", project="p", base_model="base")

    assert {teacher.get_inference_name(step) for step in (None, 0)} == {"openai/gpt-5"}
    assert (served_elsewhere.get_inference_name(7), trained.get_inference_name(0)) == ("agent@7", "agent@0")
