"""What scripts written for ART do, row by row: what no other test of the public API shows."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel

import art
from api.world import PROMPT, Settings, World, rollout, two_groups
from art.config import TrainConfig
from art.errors import ConfigurationError, JudgeError, ModelNotFoundError, NotRegisteredError
from art.local import LocalBackend, transfers
from art.metrics import MetricsBuilder, track_api_cost
from art.settings import ART, nearest
from art.utils.benchmark_rollout import benchmark_rollout

# A Choice that was rebuilt, or never was one


class TheirChoice(BaseModel):
    """A choice of another library, as LiteLLM has one: the same fields, another class."""

    index: int
    message: dict[str, Any]
    finish_reason: str
    logprobs: dict[str, Any] | None = None
    provider_specific_fields: dict[str, Any] | None = None


def as_theirs(choice: Choice) -> Any:
    kept = choice.model_dump(include={"index", "message", "finish_reason", "logprobs"})
    kept["logprobs"]["content"][0]["logprob"] -= 1e-6  # a number rounded on its way: the backend does not know it again
    return TheirChoice.model_validate(kept)


def as_a_dict(choice: Choice) -> Any:
    return choice.model_dump()


@pytest.mark.parametrize("rebuild", [as_theirs, as_a_dict])
@pytest.mark.parametrize("added", ["at the start", "later"])
def test_what_dumps_as_a_choice_is_one(world: World, rebuild: Any, added: str):
    async def body() -> art.TrainResult:
        trajectories = [await rollout(world.model, reward) for reward in (0.0, 1.0)]
        others: list[art.Trajectory] = []
        for trajectory in trajectories:
            items: list[Any] = [*PROMPT, rebuild(trajectory.messages_and_choices[-1])]
            other = art.Trajectory(
                messages_and_choices=items if added == "at the start" else [], reward=trajectory.reward
            )
            if added == "later":
                other.messages_and_choices += items
            others.append(other)
        assert [other.messages() for other in others] == [trajectory.messages() for trajectory in trajectories]
        assert others[0].for_logging()["messages"][-1]["trainable"]
        return await world.model.train([art.TrajectoryGroup(others)])

    result = world.run(body())

    assert (result.metrics["trajectories"], result.metrics["trajectories_skipped"]) == (2, 0)
    # Without its prompt's tokens the template spells them, to the same numbers.
    assert result.metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


def with_openais_fields(choice: Choice) -> Choice:
    """Rebuild a choice as pydantic-ai's users do, of what an OpenAI client is told to know."""
    tokens = choice.logprobs.content if choice.logprobs else None
    kept = [entry.model_dump(include={"token", "logprob", "bytes"}) | {"top_logprobs": []} for entry in tokens or ()]
    logprobs = {"content": kept, "refusal": None}
    message = {"role": "assistant", "content": choice.message.content}
    return Choice.model_validate({"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs})


def test_a_choice_that_lost_everything_but_its_tokens_is_known_again(world: World):
    async def ask(reward: float) -> art.Trajectory:
        extra = {"chat_template_kwargs": {"enable_thinking": False}}
        answer = await world.model.openai_client().chat.completions.create(
            model=world.model.name, messages=PROMPT, max_tokens=4, temperature=0.5, logprobs=True, extra_body=extra
        )
        rebuilt = with_openais_fields(answer.choices[0])
        return art.Trajectory(messages_and_choices=[*PROMPT, rebuilt], reward=reward)

    async def body() -> tuple[art.TrainResult, art.TrainResult]:
        old = [await ask(reward) for reward in (0.0, 1.0)]
        new = [await ask(reward) for reward in (0.0, 1.0)]
        first = await world.model.train([art.TrajectoryGroup(new)], art.TrainConfig(strict=True))
        later = await world.model.train([art.TrajectoryGroup(old)], art.TrainConfig(strict=True, max_age=1))
        assert "version" not in (old[0].messages_and_choices[-1].model_extra or {})  # pyright: ignore[reportAttributeAccessIssue]
        return first, later

    async def teach() -> str:
        """Give what the prompt begins with that answers are taught behind, which only the server has seen."""
        brief: Any = {"role": "system", "content": "Be brief."}
        said = await world.model.openai_client().chat.completions.create(
            model=world.model.name, messages=[brief, *PROMPT], max_tokens=4, logprobs=True
        )
        told = art.Trajectory(messages_and_choices=[*PROMPT, with_openais_fields(said.choices[0])])
        result = await world.model.train_sft([told])
        path = world.backend.store.root / f"api/models/agent/trajectories/train/{result.step - 1:04}.jsonl"
        choice = json.loads(path.read_text().splitlines()[-1])["trajectories"][0]["messages_and_choices"][-1]
        tokenizer = world.backend._sessions.base_of(world.model).tokenizer
        return tokenizer.decode(choice["prompt_token_ids"]).split("\n")[0]

    first, later = world.run(body())
    taught = world.run(teach())

    assert taught == "<|im_start|>system"
    # The temperature too is known: otherwise the trainer would find other log-probabilities.
    assert first.metrics["ratio"] == pytest.approx(1.0, abs=1e-3)
    assert (first.metrics["age_max"], later.metrics["age_max"]) == (0, 1)


# Recording before there is a backend


def test_a_model_logs_and_notes_a_state_before_it_is_registered(small_model: Path, tmp_path: Path):
    root = str(tmp_path / "root")
    model = art.TrainableModel("early", "api", str(small_model), base_path=root)

    async def early() -> None:
        await model.log([art.Trajectory(reward=0.5, metrics={"turns": 2})], split="val")
        await model.log(metrics={"score": 1.5}, step=3)

    asyncio.run(early())
    model.merge_state({"offset": 4})

    lines = (tmp_path / "root/api/models/early/history.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["step"], first["val/reward"], first["val/turns"]) == (0, 0.5, 2.0)
    assert (second["step"], second["val/score"]) == (3, 1.5)

    async def registered() -> Any:
        async with LocalBackend(path=root) as backend:
            await model.register(backend)
            return model.read_state()

    assert asyncio.run(registered()) == {"offset": 4}


def test_training_still_needs_a_backend(small_model: Path):
    model = art.TrainableModel("early", "api", str(small_model))

    with pytest.raises(NotRegisteredError, match="register"):
        asyncio.run(model.train([]))


def test_a_merged_state_keeps_what_lies_deeper(world: World):
    world.model.overwrite_state({"seen": {"a": 1, "b": 2}, "list": [1]})

    merged = world.model.merge_state({"seen": {"b": 3}, "list": [2]})

    assert merged == world.model.read_state() == {"seen": {"a": 1, "b": 3}, "list": [2]}
    with pytest.warns(DeprecationWarning, match="overwrite_state"):
        world.model.write_state({})
    assert world.model.read_state() == {}


# What those who look on are shown


def test_what_a_script_tells_wandb_every_tracker_shows(small_model: Path, tmp_path: Path):
    model = art.TrainableModel("agent", "api", str(small_model))
    model.update_wandb_config({"data": {"name": "sums"}, "seed": 1})

    async def body() -> None:
        async with LocalBackend(path=tmp_path, report_to="jsonl") as backend:
            await model.register(backend)
            model.update_wandb_config({"data": {"split": "easy"}})
            await model.log(metrics={"score": 1.0})

    asyncio.run(body())

    shown = json.loads((tmp_path / "trackers/jsonl/api/agent/run.json").read_text())
    assert (shown["data"], shown["seed"]) == ({"name": "sums", "split": "easy"}, 1)


def test_settings_for_trackers_that_json_has_no_form_for_are_refused(world: World):
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        world.model.model_copy().update_wandb_config({"when": object()})


def test_costs_times_and_amounts_are_added_up_until_the_next_log(small_model: Path, tmp_path: Path):
    def entries() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / "api/models/agent/history.jsonl").read_text().splitlines()]

    async def step(model: art.Model, cost: float) -> None:
        builder = model.metrics_builder("train")
        builder.add_cost("train/judge", cost)
        builder.add_cost("train/judge", cost)
        builder.add_user_timing(step_wall_s=2.0)
        builder.add_data(step_num_scenarios=3, scenario_ids=["a", "b"])
        model.metrics_builder("eval").add_cost("eval/judge", 9.0)
        await model.log(metrics={"reward": 1.0}, split="train", step=1)

    async def process() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = art.TrainableModel("agent", "api", str(small_model))
            await model.register(backend)
            await step(model, 0.25)

    asyncio.run(process())
    asyncio.run(process())

    first, second = entries()
    assert first.items() >= {"costs/train/judge": 0.5, "costs/train": 0.5, "costs/all": 0.5}.items()
    assert first.items() >= {"time/step_wall_s": 2.0, "data/cum/num_unique_scenarios": 2.0}.items()
    assert second.items() >= {"costs/train": 0.5, "costs/cum/train": 1.0, "time/cum/wall_s": 4.0}.items()
    assert "costs/eval/judge" not in second


def test_tokens_over_seconds_are_said_where_one_of_them_has_grown():
    builder = MetricsBuilder("train")
    builder.add_data(step_rollout_tokens=30)
    first = builder.flush_now()
    builder.add_user_timing(step_rollout_s=2.0)
    second = builder.flush_now()
    builder.add_cost("train/judge", 1.0)

    assert "throughput/avg_rollout_tok_per_s" not in {**first, **builder.flush_now()}
    assert second["throughput/avg_rollout_tok_per_s"] == 15.0


def test_arts_older_names_of_rollouts_are_counted_too():
    builder = MetricsBuilder("train")
    builder.add_data(step_num_scenarios=2, step_actor_tokens=100, scenario_ids=["a", "b"])
    builder.add_user_timing(step_actor_s=4)
    builder.add_idle_times(step_actor_idle_s=1)

    told = builder.flush_now()

    assert (told["data/step_actor_tokens"], told["time/step_actor_s"], told["time/step_actor_idle_s"]) == (100, 4, 1)
    assert told["throughput/avg_actor_tok_per_s"] == 25


def test_what_the_gpu_costs_is_counted_with_the_step_that_it_took(small_model: Path, tmp_path: Path):
    async def train() -> art.TrainResult:
        async with LocalBackend(path=tmp_path, gpu_cost_per_hour_usd=7200.0) as backend:
            model = art.TrainableModel("agent", "api", str(small_model))
            await model.register(backend)
            result = await backend.train(model, await two_groups(model))
            await model.log(metrics=result.metrics, split="train", step=result.step)
            return result

    result = asyncio.run(train())

    entries = (tmp_path / "api/models/agent/history.jsonl").read_text().splitlines()
    told = {name: value for entry in map(json.loads, entries) for name, value in entry.items()}
    assert told["costs/gpu"] == told["costs/cum/all"] == pytest.approx(2 * result.metrics["seconds"])


def test_an_adapter_that_is_given_as_a_base_says_how_training_goes_on_from_it(small_model: Path, tmp_path: Path):
    async def train(name: str) -> art.TrainResult:
        async with LocalBackend(path=tmp_path) as backend:
            model = art.TrainableModel(name, "api", str(small_model))
            await model.register(backend)
            return await backend.train(model, await two_groups(model))

    async def start_from(folder: Path) -> None:
        async with LocalBackend(path=tmp_path) as backend:
            await art.TrainableModel("goes-on", "api", str(folder)).register(backend)

    adapter, first = tmp_path / "adapter", tmp_path / "api/models/goes-on/checkpoints/0000"
    trained = asyncio.run(train("agent"))
    for folder in (adapter, first):
        folder.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(trained.path / name, folder / name)

    with pytest.raises(ModelNotFoundError, match=r"is no base model but an adapter.*checkpoints/0000"):
        asyncio.run(start_from(adapter))
    assert asyncio.run(train("goes-on")).metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


def test_a_completion_costs_what_its_tokens_do(world: World):
    builder = MetricsBuilder("train")
    builder.register_model_pricing("teacher", prompt_per_million=1e6, completion_per_million=2e6)

    async def ask() -> Any:
        return await world.model.openai_client().chat.completions.create(
            model=world.model.get_inference_name(), messages=PROMPT, max_tokens=2
        )

    answer = world.run(ask())
    cost = builder.add_response_cost("judge", answer, provider="openai", model_name="teacher")

    assert cost == answer.usage.prompt_tokens + 2 * answer.usage.completion_tokens
    assert builder.add_response_cost("judge", answer, provider="openai", model_name="unknown") is None
    assert asyncio.run(builder.flush())["costs/train/judge"] == cost


OPENAI = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
ANTHROPIC = {"input_tokens": 6, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}


@pytest.mark.parametrize(
    ("usage", "prices", "cost"),
    [
        (OPENAI, {}, 10 + 2 * 2),
        (OPENAI, {"cached_prompt_price_per_million": 5e5}, 6 + 4 / 2 + 2 * 2),
        (OPENAI, {"completion_price_per_million": 3e6}, 10 + 2 * 3),
        (ANTHROPIC, {"cache_read_price_per_million": 5e5}, 6 + 4 / 2 + 3 + 2 * 2),
        (ANTHROPIC, {"cache_creation_price_per_million": 2e6}, 6 + 4 + 3 * 2 + 2 * 2),
        ({**OPENAI, "cost": 0.5}, {}, 0.5),
        ({**OPENAI, "cost": {"total_cost": 0.25}}, {}, 0.25),
        ({**OPENAI, "cost": None, "model_extra": {"cost": 0.75}}, {}, 0.75),
    ],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_what_a_function_spends_is_counted_where_a_builder_is_active(
    usage: dict[str, Any], prices: dict[str, float], cost: float, is_async: bool
):
    builder = art.Model("judge", "api").metrics_builder("eval")
    builder.register_model_pricing("openai/judge", prompt_per_million=1e6, completion_per_million=2e6)
    track = track_api_cost(
        source="judge", provider="openai", model_name="openai/judge", response_getter=lambda pair: pair[0], **prices
    )

    def ask() -> tuple[dict[str, Any], str]:
        return {"usage": usage}, "answer"

    async def ask_async() -> tuple[dict[str, Any], str]:
        return ask()

    with builder.activate_context():
        answer = asyncio.run(track(ask_async)()) if is_async else track(ask)()
    track(ask)()

    assert answer == ({"usage": usage}, "answer")
    assert builder.flush_now()["costs/eval/judge"] == pytest.approx(cost)


def test_a_cost_that_nobody_knows_is_said_and_a_provider_may_have_its_own_extractor():
    builder = MetricsBuilder("train")
    ask = track_api_cost(source="judge", provider="elsewhere", model_name="nobody/knows")(lambda: {"dollars": 3.0})

    with builder.activate_context():
        with pytest.warns(UserWarning, match=r"Nobody says what nobody/knows costs, so 'judge' is not counted"):
            ask()
        builder.register_cost_extractor("Elsewhere", lambda answer: answer["dollars"])
        ask()

    assert builder.flush_now()["costs/train/judge"] == 3.0
    with pytest.raises(ConfigurationError, match=r"no price 'promt_per_million'\. Did you mean prompt_per_million"):
        builder.register_model_pricing("teacher", promt_per_million=1.0)


@pytest.mark.parametrize("key", ["score", "time/cum/wall_s", "costs/train"])
def test_a_metric_whose_name_cannot_stand_is_refused(key: str):
    builder = MetricsBuilder("train")
    builder.add_cost("train/judge", 1.0)

    with pytest.raises(ConfigurationError, match=key):
        builder.add_metric(key, 1.0)


def test_the_active_builder_is_found_where_the_block_runs():
    builder = MetricsBuilder("train")

    with builder.activate_context(), builder.measure("time/step_judge_s"):
        assert MetricsBuilder.get_active() is builder

    assert builder.flush_now()["time/step_judge_s"] >= 0
    with pytest.raises(ConfigurationError, match="No MetricsBuilder is active"):
        MetricsBuilder.get_active()


# Names


@pytest.mark.parametrize("name", ["auto_trajectory", "yield_trajectory"])
def test_a_function_that_is_a_module_too_is_called_whichever_was_imported_first(name: str):
    other = {"auto_trajectory": "capture_auto_trajectory", "yield_trajectory": "capture_yielded_trajectory"}[name]

    exec(
        f"from art.{name} import {other}, {name}; import art; assert callable({name}); assert callable(art.{name})", {}
    )


def test_a_rollout_may_be_captured_through_the_module(world: World):
    from art.auto_trajectory import auto_trajectory, capture_auto_trajectory

    async def ask() -> None:
        await world.model.openai_client().chat.completions.create(model=world.model.name, messages=PROMPT, max_tokens=2)
        trajectory = auto_trajectory()
        assert trajectory is not None
        trajectory.reward = 1.0

    captured = world.run(capture_auto_trajectory(ask()))

    assert (captured.reward, len(captured.messages())) == (1.0, 2)


# Settings: each name is implemented, mapped, or named once

THEIR_SETTINGS = (
    "loss_fn", "loss_fn_config", "normalize_advantages", "adam_params", "kl_penalty_coef", "kl_penalty_reference_step",
    "kl_penalty_source", "advantage_balance", "importance_sampling_level",
    "max_negative_advantage_importance_sampling_weight", "truncated_importance_sampling", "mask_prob_ratio", "ppo",
    "epsilon", "epsilon_high", "scale_learning_rate_by_reward_std_dev", "packed_sequence_length",
    "logprob_calculation_chunk_size", "allow_training_without_logprobs",
    "num_trajectories_learning_rate_multiplier_power", "plot_tensors", "save_checkpoint",
    "grad_accumulation_sequences", "final_training_step", "learning_rate", "kimi_k2_tau", "kl_penalty_step_lag",
    "kl_ref_adapter_path", "optimizer_save_interval", "precalculate_logprobs", "scale_rewards",
)  # fmt: skip


@pytest.mark.parametrize("name", THEIR_SETTINGS)
def test_a_setting_of_arts_is_known_and_a_misspelling_of_it_is_not(name: str):
    known = {*TrainConfig.model_fields, *ART.translated, *ART.without_effect}
    misspelt: dict[str, Any] = {f"{name}x": None}

    assert name in known
    with pytest.raises(ConfigurationError, match=f"Did you mean {name}"):
        TrainConfig(**misspelt)
    assert nearest(f"{name}x", known) == f" Did you mean {name}?"


THEIR_DEFAULTS: dict[str, Any] = {
    "learning_rate": 5e-6, "loss_fn": "cispo", "loss_fn_config": None, "normalize_advantages": True,
    "adam_params": None, "kl_penalty_coef": 0.0, "kl_penalty_reference_step": None, "kl_ref_adapter_path": None,
    "kl_penalty_source": "current_learner", "epsilon": None, "epsilon_high": None, "advantage_balance": 0.0,
    "scale_rewards": True, "importance_sampling_level": "token",
    "max_negative_advantage_importance_sampling_weight": None, "mask_prob_ratio": False, "kimi_k2_tau": None,
    "precalculate_logprobs": False, "allow_training_without_logprobs": False, "plot_tensors": False,
    "truncated_importance_sampling": None, "scale_learning_rate_by_reward_std_dev": False,
    "logprob_calculation_chunk_size": 1024, "packed_sequence_length": None,
    "num_trajectories_learning_rate_multiplier_power": 0.0, "save_checkpoint": True, "optimizer_save_interval": 5,
    "final_training_step": None, "grad_accumulation_sequences": None, "kl_penalty_step_lag": None,
    "moe_routing_replay_bundle": None, "moe_routing_replay_path": None, "moe_routing_replay_strict": False,
}  # fmt: skip


def test_what_arts_defaults_say_is_what_nobody_has_to_say():
    config = TrainConfig(**THEIR_DEFAULTS)

    assert config == TrainConfig()
    assert config.ignored == ()


@pytest.mark.parametrize("form", [lambda groups: groups[0], lambda groups: [groups[0].trajectories, groups[1]]])
def test_one_group_and_a_list_of_trajectories_are_trained_on(world: World, form: Any):
    async def body() -> art.TrainResult:
        return await world.model.train(form(await two_groups(world.model)), {"learning_rate": 1e-4})  # type: ignore[arg-type]

    metrics = world.run(body()).metrics

    assert (metrics["trajectories"], metrics["learning_rate"]) in ((2, 1e-4), (4, 1e-4))


def test_what_is_no_config_is_refused(world: World):
    with pytest.raises(ConfigurationError, match="5 is no TrainConfig"):
        world.run(world.model.train([], 5))  # pyright: ignore[reportArgumentType]


def test_all_settings_without_effect_are_named_in_one_warning(world: World, caplog: pytest.LogCaptureFixture):
    given: Any = {name: not nothing_asked for name, (nothing_asked, _) in ART.without_effect.items()}

    async def body() -> None:
        for _ in range(2):
            await world.backend.train(world.model, await two_groups(world.model), **given)

    with caplog.at_level(logging.WARNING):
        world.run(body())

    (message,) = [message for message in caplog.messages if "plot_tensors" in message]
    assert [name for name in given if name not in message] == []


def test_a_script_that_sets_nothing_trains_as_it_would_there():
    config = TrainConfig()

    assert (config.loss_name, config.clip_range, config.aggregate) == ("cispo", (1.0, 4.0), "trajectory")
    assert (config.max_grad_norm, config.weight_decay, config.learning_rate) == (0.1, 0.1, 5e-6)
    assert (config.betas, config.advantage_scale) == ((0.9, 0.99), "group")
    assert (config.beta, config.kl_penalty_coef, config.minibatches) == (0.0, 0.0, None)
    assert (art.LoRAConfig().rank, art.LoRAConfig().alpha) == (8, 16.0)


# What newer scripts name of a run


@pytest.mark.parametrize("given", [{"run_name": "agent"}, {"run_id": "agent"}, {"run_name": None}])
def test_a_run_that_is_called_as_its_model_is_nothing_to_say(given: dict[str, Any], caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        model = art.TrainableModel(name="agent", project="api", base_model="base", **given)

    assert model.run_name == given.get("run_name")
    assert caplog.messages == []


def test_another_name_of_the_run_and_an_entity_are_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_ENTITY", "mine")
    with caplog.at_level(logging.WARNING):
        art.TrainableModel(name="agent", project="api", base_model="base", run_name="other", run_id="1", entity="team")
        art.Model(name="agent", project="api", entity="mine")

    (said,) = caplog.messages
    assert "run_name, run_id, entity (WANDB_ENTITY says it to W&B)" in said


@pytest.mark.parametrize(
    "given",
    [
        {"lora_config": {"rank": 4, "alpha": 8, "target_modules": ["q_proj"], "bias": "none"}},
        {"lora_config": art.LoRAConfig(rank=4, alpha=8, target_modules=["q_proj"])},  # pyright: ignore[reportCallIssue]
        {"lora": art.LoRAConfig(rank=4, alpha=8, targets=("q_proj",))},
    ],
    ids=["a dict", "ART's names", "ours"],
)
def test_the_shape_of_an_adapter_is_understood_however_it_is_written(given: Any, caplog: pytest.LogCaptureFixture):
    model = art.TrainableModel(name="agent", project="api", base_model="base", **given)

    assert model.lora == art.LoRAConfig(rank=4, alpha=8, targets=("q_proj",))
    assert caplog.messages == []


def test_a_shape_that_is_none_of_ours_is_named_and_one_that_is_misspelt_is_refused(caplog: pytest.LogCaptureFixture):
    shape = {"rank": 4, "use_rslora": True, "random_state": 7}
    art.TrainableModel(name="agent", project="api", base_model="base", lora_config=shape)

    assert "use_rslora (adapters have plain LoRA layers of one rank)" in caplog.text
    assert "LocalBackend(seed=...)" in caplog.text
    with pytest.raises(ConfigurationError, match=r"no setting 'rnak'\. Did you mean rank\?"):
        art.TrainableModel(name="agent", project="api", base_model="base", lora_config={"rnak": 4})
    with pytest.raises(ConfigurationError, match="both lora and lora_config"):
        art.TrainableModel(name="a", project="p", base_model="b", lora=art.LoRAConfig(), lora_config={})


def test_a_dump_that_is_safe_leaves_out_what_json_has_no_form_for():
    model = art.Model(name="agent", project="api", config=Settings())
    model.config.max_turns = object()  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]

    assert json.loads(json.dumps(model.safe_model_dump()))["config"] is None


@pytest.mark.parametrize(
    ("given", "only"),
    [({"latest_only": True}, "latest"), ({"step": 0}, 0), ({"exclude": ["logs"]}, None), ({}, None)],
)
def test_older_arguments_of_a_pull_say_which_step(given: dict[str, Any], only: Any):
    assert transfers.which(None, given) == only
    assert transfers.which(3, given) == 3
    with pytest.raises(ConfigurationError, match="Did you mean latest_only"):
        transfers.which(None, {"latest_onyl": True})


def test_a_rollout_is_measured_and_a_message_is_shown(capsys: pytest.CaptureFixture[str]):
    async def rollout(model: str, number: int, _: bool) -> art.Trajectory:
        return art.Trajectory(reward=number)

    assert asyncio.run(benchmark_rollout("agent", 3, rollout)) == 1.0
    assert "Average reward for agent: 1.0" in capsys.readouterr().out
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said: Any = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert art.utils.format_message(said) == "Assistant:\nadd({})"


# Good trajectories among those that cannot be trained on


def test_what_cannot_be_trained_on_is_counted_and_the_rest_is_learned(world: World, caplog: pytest.LogCaptureFixture):
    async def body() -> list[art.TrainResult]:
        (good, other) = await two_groups(world.model)
        foreign = Choice.model_validate(
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
        )
        good.trajectories += [
            art.Trajectory(messages_and_choices=[*PROMPT], reward=0.5),
            art.Trajectory(messages_and_choices=[*PROMPT, foreign], reward=0.5),
        ]
        failed = art.TrajectoryGroup([RuntimeError("one"), RuntimeError("two")])
        return [await world.model.train(groups) for groups in ([good, other], [failed], [])]

    before = world.run(world.model.get_step())
    with caplog.at_level(logging.WARNING):
        mixed, failed, empty = world.run(body())

    assert (mixed.metrics["trajectories"], mixed.metrics["trajectories_skipped"]) == (6, 2)
    assert [result.step for result in (mixed, failed, empty)] == [before + 1, before + 2, before + 3]
    assert sum("Left out of this step" in message for message in caplog.messages) == 1
    assert sum("The step is counted and saved" in message for message in caplog.messages) == 2


# Scenarios for the tools of an MCP server


def test_scenarios_come_from_any_model_that_keeps_to_a_schema(world: World, capsys: pytest.CaptureFixture[str]):
    from art.mcp import GeneratedScenarioCollection, MCPResource, MCPTool, generate_scenarios

    tool = MCPTool("add", "Add numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    resource = MCPResource(uri="file:///sums", name="sums", description="Known sums.", mime_type="text/plain")
    model = world.model
    answer = {"scenarios": [{"task": "Add 1 and 2.", "difficulty": 1}, {"task": "Add many.", "difficulty": 5}]}

    collection = GeneratedScenarioCollection.from_json(json.dumps(answer))
    collection.preview()
    collection.print_difficulty_distribution()

    assert GeneratedScenarioCollection.from_json(collection.to_json()).to_dicts() == answer["scenarios"]
    assert [[each.task for each in part] for part in collection.split(1)] == [["Add 1 and 2."], ["Add many."]]
    assert [each.difficulty for each in collection.filter_by_difficulty(2)] == [5]
    assert collection.get_summary()["avg_difficulty"] == 3
    assert "Add 1 and 2.  (difficulty 1/5)" in capsys.readouterr().out
    # A small random model makes up no tasks in the tokens that it has, and that is said.
    asked = generate_scenarios(
        [tool], [resource], num_scenarios=2, generator_model=model.name,
        generator_api_key=model.inference_api_key, generator_base_url=str(model.inference_base_url),
    )  # fmt: skip
    with pytest.raises(JudgeError, match="scenarios"):
        world.run(asked)


def test_scenarios_need_a_key_and_something_to_be_made_from(monkeypatch: pytest.MonkeyPatch):
    from art.mcp import complete_task_tool, generate_scenarios

    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)

    with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
        asyncio.run(generate_scenarios([complete_task_tool]))
    with pytest.raises(ConfigurationError, match="at least one"):
        asyncio.run(generate_scenarios([], generator_api_key="key"))
    assert complete_task_tool.to_tool_schema()["function"]["name"] == "complete_task"
