"""The whole loop through the public API: rollouts over HTTP, training, checkpoints, forks, restarts."""

# pyright: reportPrivateUsage=false

import asyncio
import re
import signal
import time
from pathlib import Path

import openai
import pytest

import art
import digits
from art.local import LocalBackend
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from warm import WarmServer

REF = art.ModelRef("p", "one")
SCRIPT = Path(__file__).with_name("long_run.py")


def digests(root: Path, ref: art.ModelRef) -> dict[int, dict[str, str]]:
    """The digest of every file of every checkpoint of a model."""
    store = CheckpointStore(root)
    opened = [store.open(ref.at(step)) for step in store.steps(ref)]
    return {one.ref.step: {entry.path: entry.blake3 for entry in one.manifest.files} for one in opened}


def model(small_model: Path, name: str = "one", **settings: object) -> art.TrainableModel:
    return art.TrainableModel(name=name, project="p", base_model=str(small_model), **settings)  # pyright: ignore


def test_a_model_learns_and_a_fork_of_it_goes_on(small_model: Path, tmp_path: Path) -> None:
    async def body() -> tuple[list[float], list[float], int]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            first = model(small_model)
            await first.register(backend)
            learned = await digits.train(first, 10)
            second = model(small_model, "two")
            await backend._experimental_fork_checkpoint(second, from_model="one", not_after_step=8)
            await second.register(backend)
            return learned, await digits.train(second, 2), await second.get_step()

    learned, continued, step = asyncio.run(body())

    assert learned[-1] > learned[0] + 0.2
    assert continued == learned[8:10]
    assert step == 10


def test_an_original_its_repetition_and_its_fork_agree_bit_for_bit(small_model: Path, tmp_path: Path) -> None:
    async def straight(root: Path) -> None:
        async with LocalBackend(path=root, deterministic=True) as backend:
            one = model(small_model)
            await one.register(backend)
            await digits.train(one, 4)

    async def forked() -> None:
        async with LocalBackend(path=tmp_path / "a", deterministic=True) as backend:
            two = model(small_model, "two")
            await backend._experimental_fork_checkpoint(two, from_model="one", not_after_step=2)
            await two.register(backend)
            await digits.train(two, 2)

    asyncio.run(straight(tmp_path / "a"))
    asyncio.run(straight(tmp_path / "b"))
    asyncio.run(forked())

    original = digests(tmp_path / "a", REF)
    assert digests(tmp_path / "b", REF) == original
    assert digests(tmp_path / "a", art.ModelRef("p", "two")) == {step: original[step] for step in (2, 3, 4)}


def test_a_fork_without_the_optimizer_is_another_run(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one, two = model(small_model), model(small_model, "two")
            await one.register(backend)
            await digits.train(one, 3)
            await backend._experimental_fork_checkpoint(two, "one", not_after_step=2, reset=["optimizer"])
            await two.register(backend)
            await digits.train(two, 1)

    asyncio.run(body())

    one, two = digests(tmp_path, REF), digests(tmp_path, art.ModelRef("p", "two"))
    assert "optimizer.safetensors" not in two[2]
    assert two[2]["adapter_model.safetensors"] == one[2]["adapter_model.safetensors"]
    assert two[3]["adapter_model.safetensors"] != one[3]["adapter_model.safetensors"]


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_numbers_it_would_have_had(
    small_model: Path, tmp_path: Path, warm: WarmServer
) -> None:
    assert warm.run(SCRIPT, small_model, tmp_path / "whole", 4).returncode == 0

    killed = warm.start(SCRIPT, small_model, tmp_path / "killed", 4)
    store = CheckpointStore(tmp_path / "killed")
    while len(store.steps(REF)) < 2:
        time.sleep(0.005)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert warm.run(SCRIPT, small_model, tmp_path / "killed", 4).returncode == 0

    assert digests(tmp_path / "killed", REF) == digests(tmp_path / "whole", REF)
    logged = [entry.step for entry in HistoryStore(tmp_path / "killed").read(REF)]
    assert logged == [0, 1, 2, 3]


def test_register_writes_nothing_and_either_order_serves_the_fork(small_model: Path, tmp_path: Path) -> None:
    async def body() -> tuple[list[str], list[str]]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one, before, after = model(small_model), model(small_model, "before"), model(small_model, "after")
            await one.register(backend)
            await digits.train(one, 2)
            await before.register(backend)
            assert not CheckpointStore(tmp_path).steps(before.ref)
            await backend._experimental_fork_checkpoint(before, from_model="one")
            await backend._experimental_fork_checkpoint(after, from_model="one")
            await after.register(backend)
            return [await answer(before), await answer(after)], [await answer(one)] * 2

    forks, original = asyncio.run(body())

    assert forks == original


async def answer(asked: art.TrainableModel, step: int | None = None) -> str:
    completion = await asked.openai_client().chat.completions.create(
        model=asked.get_inference_name(step),
        messages=[{"role": "user", "content": "give digits"}],
        max_tokens=8,
        temperature=0,
    )
    return str(completion.choices[0].model_dump()["token_ids"])


def test_earlier_steps_are_served_by_name_also_those_from_before_a_fork(small_model: Path, tmp_path: Path) -> None:
    async def body() -> tuple[list[str], list[str]]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one, two = model(small_model), model(small_model, "two")
            await one.register(backend)
            seen = [await answer(one)]
            for _ in range(4):
                await digits.train(one, 1)
                seen.append(await answer(one))
            await backend._experimental_fork_checkpoint(two, from_model="one")
            await two.register(backend)
            again = [await answer(two, step) for step in (1, 2, 3, 4)]
            with pytest.raises(openai.NotFoundError, match="it has step 4"):
                await answer(two, 9)
            return seen[1:], again

    seen, again = asyncio.run(body())

    assert again == seen
    assert len(set(seen)) > 1


def test_a_checkpoint_says_which_settings_led_to_it(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            one = model(small_model)
            await one.register(backend)
            await digits.train(one, 1)

    asyncio.run(body())

    settings = CheckpointStore(tmp_path).open(REF.at(1)).manifest.settings
    assert settings["learning_rate"] == digits.TRAIN.learning_rate
    assert settings.keys() == art.TrainConfig.model_fields.keys()


def test_the_users_state_travels_with_the_checkpoint(small_model: Path, tmp_path: Path) -> None:
    async def body() -> tuple[object, object]:
        async with LocalBackend(path=tmp_path) as backend:
            one = model(small_model)
            await one.register(backend)
            for offset in (10, 20):
                one.state = {"offset": offset}
                await digits.train(one, 1)
            two = model(small_model, "two")
            await backend._experimental_fork_checkpoint(two, from_model="one", not_after_step=1)
            await two.register(backend)
        async with LocalBackend(path=tmp_path) as backend:
            again = model(small_model)
            await again.register(backend)
            return two.state, again.state

    assert asyncio.run(body()) == ({"offset": 10}, {"offset": 20})


def test_a_rewind_goes_back_and_sets_aside(small_model: Path, tmp_path: Path) -> None:
    async def body() -> list[float]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one = model(small_model)
            await one.register(backend)
            await digits.train(one, 2)
            first = await digits.train(one, 2)
            await backend._experimental_fork_checkpoint(one, from_model="one", not_after_step=2)
            assert await one.get_step() == 2
            again = await digits.train(one, 2)
            assert again == first
            return again

    asyncio.run(body())

    aside = CheckpointStore(tmp_path).set_aside(REF)
    assert [one.steps for one in aside] == [(3, 4)]


def test_the_kl_reference_may_be_a_step_from_before_the_fork(small_model: Path, tmp_path: Path) -> None:
    held = {"learning_rate": 2e-2, "beta": 0.1, "kl_penalty_coef": 0.1}
    config, lagged, from_base = (
        art.TrainConfig(**held, **named) for named in ({"kl_penalty_reference_step": 1}, {"kl_penalty_step_lag": 2}, {})
    )

    async def body() -> tuple[art.TrainResult, art.TrainResult, art.TrainResult]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one, two, three = (model(small_model, name) for name in ("one", "two", "three"))
            await one.register(backend)
            await digits.train(one, 3)
            await backend._experimental_fork_checkpoint(two, from_model="one")
            await two.register(backend)
            groups = await digits.gather(two)
            in_fork = await two.train(groups, lagged)  # two steps before the third
            in_source = await one.train(groups, config)
            await backend._experimental_fork_checkpoint(three, from_model="one", not_after_step=3)
            await three.register(backend)
            return in_fork, in_source, await three.train(groups, from_base)

    in_fork, in_source, other = asyncio.run(body())

    assert in_fork.metrics["kl"] == in_source.metrics["kl"] > 0
    adapters = [(result.path / "adapter_model.safetensors").read_bytes() for result in (in_fork, in_source, other)]
    assert adapters[0] == adapters[1] != adapters[2]


def test_delete_checkpoints_keeps_the_newest_and_the_best(
    small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> list[int]:
        async with LocalBackend(path=tmp_path) as backend:
            one = model(small_model)
            await one.register(backend)
            for reward in (0.5, 0.9, 0.1, 0.2):
                await digits.train(one, 1)
                await one.log([art.Trajectory(messages_and_choices=[], reward=reward)], split="val")
            await one.delete_checkpoints(best_checkpoint_metric="val/typo")
            assert CheckpointStore(tmp_path).steps(REF) == [1, 2, 3, 4]
            assert re.search(r"no metric 'val/typo'.*val/reward.*Nothing is deleted", caplog.text)
            await one.delete_checkpoints(best_checkpoint_metric="val/reward")
            return CheckpointStore(tmp_path).steps(REF)

    assert asyncio.run(body()) == [2, 4]


def test_step_0_is_the_base_model_also_of_a_trained_one(small_model: Path, tmp_path: Path) -> None:
    async def body() -> tuple[str, str, str]:
        async with LocalBackend(path=tmp_path, deterministic=True) as backend:
            one = model(small_model)
            await one.register(backend)
            untrained = await answer(one)
            await digits.train(one, 3)
            return untrained, await answer(one, 0), await answer(one)

    untrained, step_0, trained = asyncio.run(body())

    assert step_0 == untrained != trained


def test_dropout_travels_with_the_checkpoint(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path / "a", deterministic=True) as backend:
            one = model(small_model, lora=art.LoRAConfig(dropout=0.3))
            await one.register(backend)
            await digits.train(one, 3)
            two = model(small_model, "two")
            await backend._experimental_fork_checkpoint(two, "one", not_after_step=2)
            await two.register(backend)
            await digits.train(two, 1)

    asyncio.run(body())

    assert digests(tmp_path / "a", REF)[3] == digests(tmp_path / "a", art.ModelRef("p", "two"))[3]


def test_a_score_from_before_a_rewind_does_not_choose_the_best(small_model: Path, tmp_path: Path) -> None:
    history, ref = HistoryStore(tmp_path), REF

    for step, reward in ((1, 0.1), (2, 0.2), (3, 0.9)):
        history.append(ref, step, split="train", metrics={"reward": reward})
    history.append(ref, 2, split="train", metrics={"reward": 0.3})

    segments = CheckpointStore(tmp_path).segments(ref)
    assert history.scores(segments, "reward") == {1: 0.1, 2: 0.3}


def test_a_second_object_of_a_model_shares_its_session_and_gets_its_state(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            first, second = model(small_model), model(small_model)
            await first.register(backend)
            first.state = {"offset": 7}
            await digits.train(first, 1)
            await second.register(backend)
            assert second.state == {"offset": 7}
            second.state = {"offset": 8}
            await digits.train(second, 1)
        async with LocalBackend(path=tmp_path) as backend:
            again = model(small_model)
            await again.register(backend)
            assert again.state == {"offset": 8}

    asyncio.run(body())


def test_a_step_taken_again_is_written_down_where_its_process_died_behind_the_commit(
    small_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p/models/one/history.jsonl"

    async def body(steps: int) -> None:
        async with LocalBackend(path=tmp_path) as backend:
            one = model(small_model)
            await one.register(backend)
            await digits.train(one, steps)

    asyncio.run(body(2))
    store = CheckpointStore(tmp_path)
    store.rewind(store.open(REF.at(1)))
    asyncio.run(body(1))
    # What a kill between the commit and the history leaves.
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    for _ in range(2):
        asyncio.run(body(0))

    newest = store.open(REF.at(2)).manifest.metrics
    entries = [entry for entry in HistoryStore(tmp_path).read(REF) if entry.step == 1]
    assert len(entries) == 2
    assert entries[-1].metrics["train/loss"] == newest["loss"]
