"""Asking, training and logging through a registered model."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

import art
from api.world import PROMPT, World, rollout, two_groups
from art.errors import ConfigurationError
from art.local import LocalBackend
from art.types import TrainConfig


async def missing() -> art.Trajectory:
    raise RuntimeError("no answer")


def test_training_moves_one_step_and_answers_with_the_new_weights(world: World):
    async def body() -> tuple[int, art.TrainResult, int, Any]:
        before = await world.model.get_step()
        result = await world.model.train(
            await two_groups(world.model), config=TrainConfig(learning_rate=5e-6, beta=0.0)
        )
        models = await world.model.openai_client().models.list()
        return before, result, await world.model.get_step(), models

    before, result, after, models = world.run(body())

    assert after == result.step == before + 1
    assert result.metrics["learning_rate"] == 5e-6
    assert (result.path / "adapter_model.safetensors").exists()
    assert (result.checkpoint_path, result.checkpoint_ready) == (str(result.path), None)
    assert f"agent@{after}" in {model.id for model in models.data}


def test_the_base_model_answers_under_its_own_name(world: World):
    async def body() -> tuple[list[str | None], str | None]:
        await world.model.train(await two_groups(world.model), config=TrainConfig(learning_rate=1e-2))
        client, name = world.model.openai_client(), world.model.base_model
        ask = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, "temperature": 0}
        answers = [await client.chat.completions.create(model=each, **ask) for each in (name, f"{world.model.name}@0")]
        return [answer.choices[0].message.content for answer in answers], answers[0].system_fingerprint

    contents, version = world.run(body())

    assert contents[0] == contents[1]
    assert version == "base"


def test_the_backends_spelling_of_training_has_the_same_effect(world: World):
    async def body() -> art.TrainResult:
        return await world.backend.train(world.model, await two_groups(world.model), learning_rate=1e-4)

    assert world.run(body()).metrics["learning_rate"] == 1e-4


def test_a_setting_of_training_that_does_not_exist_is_refused(world: World):
    async def body() -> None:
        await world.backend.train(world.model, await two_groups(world.model), learnin_rate=1e-4)

    with pytest.raises(ConfigurationError, match="Did you mean learning_rate"):
        world.run(body())


def test_internal_settings_of_training_are_used_or_named_once(world: World, caplog: pytest.LogCaptureFixture):
    async def body() -> art.TrainResult:
        groups = await two_groups(world.model)
        given: Any = {"learning_rate": 3e-4, "plot_tensors": True}
        for _ in range(2):
            result = await world.model.train(groups, config=art.TrainConfig(beta=0.0), _config=given)
        return result

    with caplog.at_level(logging.WARNING):
        result = world.run(body())

    assert result.metrics["learning_rate"] == 3e-4
    (message,) = caplog.messages
    assert message.startswith("api/agent: train: no meaning here, ignored: plot_tensors (needs")


def test_verbose_training_says_one_line_on_stderr(world: World, capsys: pytest.CaptureFixture[str]):
    async def body() -> int:
        groups = await two_groups(world.model)
        await world.model.train(groups)
        return (await world.model.train(groups, verbose=True)).step

    step = world.run(body())

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0].startswith(f"api/agent@{step}, update from step {step - 1}: reward 0.5, loss")
    assert len(shown.err.splitlines()) == 1


def test_trainer_args_are_the_models_own_defaults(small_model: Path, tmp_path: Path, world: World):
    async def body() -> tuple[float, float]:
        groups: list[art.TrajectoryGroup] = []
        moved: list[float] = []
        for name, maximum in (("free", 1e9), ("held", 1e-9)):
            async with LocalBackend(path=tmp_path / name) as backend:
                model = art.TrainableModel(
                    name="agent",
                    project="api",
                    base_model=str(small_model),
                    _internal_config={"trainer_args": {"max_grad_norm": maximum}},
                )
                await model.register(backend)
                # Answers of weights that nobody has trained: those of one that was may all be the same.
                groups = groups or await two_groups(model)
                await model.train(groups, art.TrainConfig(learning_rate=1e-3))
                moved.append(_largest(backend, model))
        return moved[0], moved[1]

    free, held = world.run(body())

    # AdamW divides by its own running scale, so only a norm near its epsilon shows in the weights.
    assert held < free / 2


def _largest(backend: LocalBackend, model: art.TrainableModel) -> float:
    from safetensors.torch import load_file

    checkpoint = backend.store.select(model.ref).checkpoint
    tensors = load_file(checkpoint.path / "adapter_model.safetensors")
    return max(float(tensor.abs().max()) for name, tensor in tensors.items() if "lora_B" in name)


def test_groups_with_failed_rollouts_are_trained_on_what_came_back(world: World):
    async def body() -> tuple[list[art.TrajectoryGroup], art.TrainResult]:
        groups = await art.gather_trajectory_groups(
            [art.TrajectoryGroup([*(rollout(world.model, reward) for reward in (0.0, 1.0)), missing()])],
            pbar_desc=None,
            max_exceptions=1,
        )
        return groups, await world.model.train(groups)

    groups, result = world.run(body())

    assert [str(error) for error in groups[0].exceptions] == ["no answer"]
    assert result.metrics["trajectories"] == 2


def test_any_http_client_that_speaks_openai_is_answered(world: World):
    body = {"model": "agent", "messages": PROMPT, "max_tokens": 3, "temperature": 0.7, "n": 1, "stream": False}
    headers = {"Authorization": f"Bearer {world.model.inference_api_key}", "User-Agent": "some-framework/1.0"}

    answer = httpx.post(f"{world.model.inference_base_url}/chat/completions", json=body, headers=headers, timeout=60)

    completion = answer.json()
    assert answer.status_code == 200
    assert completion["object"] == "chat.completion"
    assert completion["choices"][0]["message"]["role"] == "assistant"
    assert completion["usage"]["completion_tokens"] <= 3


def test_what_such_a_client_sampled_can_be_trained_on(world: World):
    from openai.types.chat import ChatCompletion

    body = {"model": "agent", "messages": PROMPT, "max_tokens": 3}
    url = f"{world.model.inference_base_url}/chat/completions"
    headers = {"Authorization": f"Bearer {world.model.inference_api_key}"}
    answers = [httpx.post(url, json=body, headers=headers, timeout=60).json() for _ in range(2)]
    choices = [ChatCompletion.model_validate(answer).choices[0] for answer in answers]
    group = art.TrajectoryGroup(
        art.Trajectory(messages_and_choices=[*PROMPT, choice], reward=reward) for reward, choice in enumerate(choices)
    )

    result = world.run(world.model.train([group]))

    assert result.metrics["trajectories"] == 2


def test_deploying_says_what_to_use_instead(world: World):
    with pytest.raises(art.errors.ConfigurationError, match="vLLM"):
        world.run(world.backend._experimental_deploy("somewhere", world.model))


def test_both_kinds_of_with_close_the_backend(small_model: Path, tmp_path: Path, world: World):
    async def body() -> list[str]:
        said: list[str] = []
        with LocalBackend(path=tmp_path) as plain:
            model = art.TrainableModel(name="agent", project="api", base_model=str(small_model))
            await model.register(plain)
            await rollout(model, 0)
        async with LocalBackend(path=str(tmp_path)) as waiting:
            await model.register(waiting)
            await rollout(model, 0)
        for backend in (plain, waiting):
            with pytest.raises(art.errors.BackendClosedError) as refused:
                await backend.get_step(model)
            said.append(str(refused.value))
        return said

    for message in world.run(body()):
        assert "is closed; create a new LocalBackend" in message


def test_answers_say_which_weights_gave_them_and_grow_old(world: World):
    async def body() -> tuple[list[art.TrajectoryGroup], list[art.TrainResult]]:
        groups = await two_groups(world.model)
        return groups, [await world.model.train(groups) for _ in range(3)]

    groups, results = world.run(body())

    step = results[0].step - 1
    (choice,) = (item for item in groups[0].trajectories[0].messages_and_choices if not isinstance(item, dict))
    assert str((choice.model_extra or {})["version"]).endswith(f"@{step}")
    assert [result.metrics["age_max"] for result in results] == [0, 1, 2]
    assert results[0].metrics["rollout_seconds"] == results[2].metrics["rollout_seconds"] > 0
