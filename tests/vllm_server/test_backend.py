"""A whole run whose answers come from vLLM, through the public API."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import psutil
import pytest

import art
import digits
import yes_no_maybe  # pyright: ignore[reportMissingImports] - one of the examples
from art.errors import ConfigurationError, LoRAShapeMismatchError
from art.local import VLLM, LocalBackend
from art.sample.version import BASE
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import HOST, Launch
from art.sample.vllm.sampler import VLLMSampler
from small import write_small_model

from .asking import KEY, ON_A_CPU, launch_of, sampler_of

SAMPLER_OFF = 1e-4
"""Mean distance of the sampler's log-probabilities from the trainer's, in nats; measured 1e-5."""


@pytest.fixture
def url(sampler: VLLMSampler, address: Address) -> str:
    """The address of a server that runs."""
    return str(address)


def one(base: Path, **settings: object) -> art.TrainableModel:
    return art.TrainableModel(name="one", project="p", base_model=str(base), **settings)  # type: ignore[arg-type]


async def registered(base: Path, backend: LocalBackend, **settings: object) -> art.TrainableModel:
    model = one(base, **settings)
    await model.register(backend)
    return model


@pytest.mark.parametrize("chosen", ["faster", [], ["http://a", "b"], "vLLM"])
def test_what_names_no_sampler_is_refused(tmp_path: Path, chosen: object):
    with pytest.raises(ConfigurationError, match="'vllm', the address of a vLLM server"):
        LocalBackend(path=tmp_path, sampler=chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("chosen", ["vllm", "http://127.0.0.1:1"])
def test_runs_that_are_to_repeat_are_refused_before_anything_starts(small_model: Path, tmp_path: Path, chosen: str):
    async def register() -> None:
        async with LocalBackend(path=tmp_path, sampler=chosen, deterministic=True) as backend:
            await registered(small_model, backend)

    with pytest.raises(ConfigurationError, match="deterministic=True needs a sampler whose seeds are exact, and VLLM"):
        asyncio.run(register())


@pytest.mark.vllm
def test_a_model_learns_and_what_was_sampled_is_what_the_trainer_computes(model: Path, url: str, tmp_path: Path):
    async def body() -> list[float]:
        async with LocalBackend(path=tmp_path, sampler=url) as backend:
            first = await registered(model, backend)
            return await digits.train(first, 10, digits.TRAIN.model_copy(update={"max_divergence": SAMPLER_OFF}))

    rewards = asyncio.run(body())

    assert rewards[-1] > rewards[0] + 0.2


@pytest.mark.vllm
def test_names_with_steps_token_ids_and_tools_stay_as_they_are(model: Path, url: str, tmp_path: Path):
    async def body() -> list[str]:
        async with LocalBackend(path=tmp_path, sampler=url) as backend:
            first = await registered(model, backend)
            await digits.train(first, 2)
            answers = [
                await first.openai_client().chat.completions.create(
                    model=name, messages=[{"role": "user", "content": "give digits"}], max_tokens=4, n=2
                )
                for name in ("one", "one@1", str(model))
            ]
            for answer in answers:
                for choice in answer.choices:
                    extra = choice.model_extra or {}
                    assert len(extra["token_ids"]) == len(extra["token_logprobs"]) <= 4
            return [answer.system_fingerprint or "" for answer in answers]

    versions = asyncio.run(body())

    assert [version.rpartition("@")[2] for version in versions] == ["2", "1", "base"]


@pytest.mark.vllm
@pytest.mark.parametrize(
    "asked", [{"top_p": 0.5}, {"presence_penalty": 1.0}, {"response_format": {"type": "json_object"}}], ids=str
)
def test_what_would_change_the_logprobs_is_a_400_that_says_so(
    model: Path, url: str, tmp_path: Path, asked: dict[str, object]
):
    async def body() -> None:
        async with LocalBackend(path=tmp_path, sampler=url) as backend:
            first = await registered(model, backend)
            await first.openai_client().chat.completions.create(
                model="one",
                messages=[{"role": "user", "content": "give digits"}],
                max_tokens=4,
                **asked,  # pyright: ignore[reportCallIssue, reportArgumentType]
            )

    with pytest.raises(openai.BadRequestError, match=r"Leave (the three|them) out"):
        asyncio.run(body())


@pytest.mark.vllm
def test_a_rank_that_the_server_does_not_take_is_refused_at_registration(model: Path, url: str, tmp_path: Path):
    async def register() -> None:
        async with LocalBackend(path=tmp_path, sampler=url) as backend:
            await registered(model, backend, lora=art.LoRAConfig(rank=24))

    with pytest.raises(LoRAShapeMismatchError, match="of rank 24, and the sampler takes at most 16"):
        asyncio.run(register())


@pytest.mark.vllm
def test_a_server_of_another_model_is_refused(url: str, tmp_path: Path):
    other = write_small_model(tmp_path / "other", head_dim=32, seed=1)

    async def register() -> None:
        async with LocalBackend(path=tmp_path / "root", sampler=url) as backend:
            await registered(other, backend)

    with pytest.raises(ConfigurationError, match=r"does not serve .* as it is trained here"):
        asyncio.run(register())


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_servers_share_the_requests_and_both_have_each_version(
    model: Path, launch: Launch, address: Address, sampler: VLLMSampler, tmp_path: Path
):
    other = replace(launch, port=launch_of(model).free_port())
    second = sampler_of(other)
    second.publish(BASE, None)
    urls = [str(address), f"http://{HOST}:{other.port}"]
    before = [answered(url) for url in urls]

    async def body() -> None:
        async with LocalBackend(path=tmp_path, sampler=urls) as backend:
            first = await registered(model, backend)
            await digits.train(first, 3, digits.TRAIN.model_copy(update={"max_divergence": SAMPLER_OFF}))

    try:
        asyncio.run(body())
        shares = [answered(url) - earlier for url, earlier in zip(urls, before, strict=True)]
    finally:
        second.close()

    assert min(shares) > 0.2 * sum(shares)


def answered(url: str) -> float:
    """Give how many requests a server has answered."""
    lines = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total{"))


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_asks_again_while_the_server_is_started_again(model: Path, tmp_path: Path):
    # One that other tests share may run as well.
    others = _servers()

    async def body() -> list[str | None]:
        async with LocalBackend(path=tmp_path, sampler=VLLM(options=ON_A_CPU, max_rank=8)) as backend:
            first = await registered(model, backend)
            await digits.train(first, 1)
            asking = [asyncio.create_task(digits.rollout(first, "give digits")) for _ in range(4)]
            running = [asyncio.create_task(answer(first, max_tokens=900)) for _ in range(4)]
            await asyncio.sleep(0.5)
            [server] = [each for each in _servers() if each not in others]
            server.kill()
            await asyncio.gather(*asking)
            return await asyncio.gather(*running)

    versions = asyncio.run(body())

    assert all(version.endswith("@1") for version in versions if version)
    assert [each for each in _servers() if each not in others] == []


async def answer(model: art.TrainableModel, *, max_tokens: int) -> str | None:
    completion = await model.openai_client().chat.completions.create(
        model=model.name, messages=[{"role": "user", "content": "give digits"}], max_tokens=max_tokens
    )
    return completion.system_fingerprint


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_example_learns_on_the_real_model(smollm2: Path, tmp_path: Path):
    async def body() -> float:
        chosen = VLLM(options=(*ON_A_CPU, "--max-model-len", "512"), max_rank=8)
        async with LocalBackend(path=tmp_path, sampler=chosen) as backend:
            maybe = await registered(smollm2, backend)
            await yes_no_maybe.train(maybe, until=10, learning_rate=1e-3)
            return await yes_no_maybe.evaluate(maybe)

    assert asyncio.run(body()) > 0.9


def _servers() -> list[psutil.Process]:
    below = [process for process in psutil.Process().children(recursive=True) if process.status() != "zombie"]
    return [each for each in below if "vllm.entrypoints.cli.main" in each.cmdline()[1:3]]
