"""The sampler over a real vLLM server: its numbers, its versions, and how it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from transformers import PreTrainedModel

from adapters import open_with_peft
from art.config import LoRAConfig
from art.errors import (
    ConfigurationError,
    InferenceError,
    LoRAShapeMismatchError,
    NotFoundError,
    SamplerLostError,
)
from art.sample.generation import Token
from art.sample.version import BASE
from art.sample.vllm.client import Client
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import HOST, Launch, environment, program
from art.sample.vllm.process import Process
from art.sample.vllm.sampler import VLLMSampler
from art.sample.vllm.sleeping import ASKED, prompt_logprobs

from .asking import KEY, ON_A_CPU, begin, finish, launch_of, new_version, prompt_of, sample, sampler_of

pytestmark = pytest.mark.vllm

TOLERANCE = 1e-4
"""float32 sums in another order; measured 1e-5 on this model, and 2.3e-4 on SmolLM2."""
Adapters = Callable[..., Path]


def assert_logprobs_of(model: torch.nn.Module, prompt: list[int], answer: list[Token], *, temperature: float) -> None:
    ids = [token.drawn.token_id for token in answer]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits / temperature, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
    assert [token.drawn.logprob for token in answer] == pytest.approx(expected.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_of_the_base_are_those_of_a_plain_pass(
    sampler: VLLMSampler, base: PreTrainedModel, temperature: float
):
    prompt = prompt_of(40)

    answers = asyncio.run(sample(sampler, prompt, n=2, max_tokens=256, temperature=temperature))

    assert [len(answer) for answer in answers.values()] == [256, 256]
    assert answers[0] != answers[1]
    for answer in answers.values():
        assert_logprobs_of(base, prompt, answer, temperature=temperature)
        assert [token.finish_reason for token in answer] == [None] * 255 + ["length"]


@pytest.mark.parametrize("lora", [LoRAConfig(rank=4), LoRAConfig(rank=16, alpha=64)], ids=["4", "16"])
def test_logprobs_of_an_adapter_are_those_of_peft(
    sampler: VLLMSampler, base: PreTrainedModel, adapter: Adapters, lora: LoRAConfig
):
    folder, version, prompt = adapter(1, lora=lora), new_version(), prompt_of(40, seed=1)
    sampler.publish(version, folder)

    answers = asyncio.run(sample(sampler, prompt, version=version, n=2, max_tokens=256, temperature=0.8))

    sampler.retire(version)
    adapted = open_with_peft(folder, base, trainable=False)
    for answer in answers.values():
        assert_logprobs_of(adapted, prompt, answer, temperature=0.8)


def test_greedy_and_top_logprobs_are_those_of_the_model(sampler: VLLMSampler, base: PreTrainedModel):
    prompt = prompt_of(20)

    [answer] = asyncio.run(sample(sampler, prompt, max_tokens=20, temperature=0.0, top_p=0.5, top_logprobs=3)).values()

    assert_logprobs_of(base, prompt, answer, temperature=1.0)
    for token in answer:
        assert len(token.drawn.top) == 3
        assert token.drawn.top[0] == (token.drawn.token_id, token.drawn.logprob)
        assert [value for _, value in token.drawn.top] == sorted((value for _, value in token.drawn.top), reverse=True)


def test_a_stop_token_is_an_answers_last_and_only_what_is_asked_for_stops(sampler: VLLMSampler):
    prompt = prompt_of(20)
    [whole] = asyncio.run(sample(sampler, prompt, max_tokens=60, temperature=0.0)).values()
    stop = whole[5].drawn.token_id

    [cut] = asyncio.run(sample(sampler, prompt, max_tokens=60, temperature=0.0, stop_ids=frozenset({stop}))).values()

    first = next(place for place, token in enumerate(whole) if token.drawn.token_id == stop)
    assert [token.drawn.token_id for token in cut] == [token.drawn.token_id for token in whole[: first + 1]]
    assert cut[-1].finish_reason == "stop"


def test_a_seed_is_refused_where_the_server_would_end_over_it(sampler: VLLMSampler):
    async def run() -> None:
        begin(sampler, prompt_of(3), seed=1)

    with pytest.raises(ConfigurationError, match="Leave the seed out"):
        asyncio.run(run())


def test_a_seed_gives_every_choice_its_own_tokens_and_these_again(sampler: VLLMSampler, address: Address):
    running = sampler_of(address)
    running.publish(BASE, None)

    answers = [asyncio.run(sample(running, prompt_of(10), n=3, seed=2**64 - 1)) for _ in range(2)]

    running.close()
    tokens = [[[token.drawn.token_id for token in answer] for answer in each.values()] for each in answers]
    assert tokens[0] == tokens[1]
    assert len({tuple(answer) for answer in tokens[0]}) == 3


def test_an_answer_ends_where_the_context_does(sampler: VLLMSampler):
    [answer] = asyncio.run(sample(sampler, prompt_of(1000), max_tokens=4096)).values()

    assert len(answer) == sampler.context_length - 1000 == 24
    assert answer[-1].finish_reason == "length"


def test_a_running_request_finishes_on_its_version_while_the_next_is_published(
    sampler: VLLMSampler, base: PreTrainedModel, adapter: Adapters
):
    old, new = new_version(1), new_version(2)
    folders, prompt = [adapter(1), adapter(2)], prompt_of(30)
    sampler.publish(old, folders[0])

    async def run() -> list[list[Token]]:
        running = begin(sampler, prompt, version=old, max_tokens=300)
        tokens = aiter(running)
        first = [await anext(tokens)]
        await asyncio.to_thread(sampler.publish, new, folders[1])
        sampler.retire(old)
        with pytest.raises(NotFoundError, match="No version shop/agent#"):
            begin(sampler, prompt, version=old)
        [second] = (await sample(sampler, prompt, version=new, max_tokens=300)).values()
        return [first + [token async for token in tokens], second]

    answers = asyncio.run(run())

    sampler.retire(new)
    for folder, answer in zip(folders, answers, strict=True):
        assert len(answer) == 300
        with opened(folder, base) as adapted:
            assert_logprobs_of(adapted, prompt, answer, temperature=1.0)


def test_an_adapter_is_unloaded_when_its_last_request_has_ended(
    sampler: VLLMSampler, address: Address, adapter: Adapters
):
    version = new_version()
    sampler.publish(version, adapter(3))

    async def run() -> list[str]:
        running = begin(sampler, prompt_of(10), version=version, max_tokens=200)
        await anext(aiter(running))
        sampler.retire(version)
        during = names(address)
        await finish(running)
        return during

    during = asyncio.run(run())

    assert [name for name in during if name.startswith(str(version))]
    assert eventually(lambda: not [name for name in names(address) if name.startswith(str(version))])


def test_a_cancelled_request_stops_at_the_server(sampler: VLLMSampler, address: Address):
    async def run() -> list[int]:
        running = begin(sampler, prompt_of(10), n=3, max_tokens=900)
        answers: dict[int, int] = {0: 0, 1: 0, 2: 0}
        async for token in running:
            answers[token.choice] += 1
            if answers[0] == 5:
                running.cancel(0)
            if sum(answers.values()) == 60:
                running.cancel()
        return list(answers.values())

    counts = asyncio.run(run())

    assert counts[0] == 5
    assert sum(counts) == 60
    assert eventually(lambda: running_at(address) == 0 and not sampler.load().rows and not sampler.load().waiting)


@pytest.mark.parametrize("cut", [{"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_what_would_change_the_logprobs_is_refused(sampler: VLLMSampler, cut: dict[str, float]):
    async def run() -> None:
        begin(sampler, prompt_of(3), **cut)

    with pytest.raises(ConfigurationError, match="Leave the three out, or sample with sampler='own'"):
        asyncio.run(run())


@pytest.mark.parametrize("prompt", [[], [0] * 1024, [VOCABULARY := 259], [-1]])
def test_a_prompt_that_cannot_be_is_refused(sampler: VLLMSampler, prompt: list[int]):
    async def run() -> None:
        begin(sampler, prompt)

    with pytest.raises(ConfigurationError, match="prompt"):
        asyncio.run(run())


def test_an_adapter_of_too_large_a_rank_is_refused_and_the_option_named(sampler: VLLMSampler, adapter: Adapters):
    version = new_version()

    with pytest.raises(LoRAShapeMismatchError, match=r"rank 24 is greater .* with a larger --max-lora-rank"):
        sampler.publish(version, adapter(5, lora=LoRAConfig(rank=24)))

    assert sampler.traits.max_rank == 16
    with pytest.raises(NotFoundError):
        asyncio.run(sample(sampler, prompt_of(3), version=version))


def test_a_folder_that_the_server_does_not_see_is_named(sampler: VLLMSampler, tmp_path: Path):
    with pytest.raises(InferenceError, match=f"does not see {tmp_path / 'nowhere'}"):
        sampler.publish(new_version(), tmp_path / "nowhere")


def test_a_server_that_runs_serves_a_second_sampler_whose_adapters_go_with_it(
    sampler: VLLMSampler, address: Address, adapter: Adapters, base: PreTrainedModel
):
    version, folder, prompt = new_version(), adapter(1), prompt_of(9)
    second = sampler_of(address)
    second.publish(version, folder)
    sampler.publish(version, adapter(2))

    [answer] = asyncio.run(sample(second, prompt, version=version)).values()

    assert_logprobs_of(open_with_peft(folder, base, trainable=False), prompt, answer, temperature=1.0)
    sampler.retire(version)
    second.close()
    assert eventually(lambda: not [name for name in names(address) if name.startswith(str(version))])


def test_a_server_gives_the_logprobs_by_which_its_sleep_is_checked(
    sampler: VLLMSampler, address: Address, adapter: Adapters, base: PreTrainedModel
):
    version, folder = new_version(), adapter(1)
    sampler.publish(version, folder)
    [name] = [each for each in names(address) if each.startswith(str(version))]

    told = asyncio.run(prompt_logprobs(Client(address), name))

    sampler.retire(version)
    with opened(folder, base) as adapted:
        logp_TV = adapted(torch.tensor([ASKED])).logits[0].log_softmax(-1)
    assert told == pytest.approx([logp_TV[place, token].item() for place, token in enumerate(ASKED[1:])], abs=1e-3)


def test_a_server_that_is_killed_is_started_again_with_its_adapters(
    model: Path, base: PreTrainedModel, adapter: Adapters
):
    launch = launch_of(model, port=launch_of(model).free_port())
    sampler, version, folder, prompt = sampler_of(launch), new_version(), adapter(1), prompt_of(12)
    sampler.publish(BASE, None)
    sampler.publish(version, folder)

    async def run() -> list[Token]:
        running = begin(sampler, prompt, version=version, n=2, max_tokens=1000)
        await anext(aiter(running))
        server_of(launch).kill()
        with pytest.raises(SamplerLostError, match="Ask again"):
            await finish(running)
        [again] = (await sample(sampler, prompt, version=version)).values()
        return again

    answer = asyncio.run(run())

    sampler.close()
    assert_logprobs_of(open_with_peft(folder, base, trainable=False), prompt, answer, temperature=1.0)


def test_a_server_without_our_options_is_refused_with_all_that_it_lacks(model: Path):
    """Also while it is unsuitable it is asked only; the same server then runs nothing."""
    launch = launch_of(model)
    port = launch.free_port()
    command = [*program(), str(model), "--host", HOST, "--port", str(port), "--dtype", "float32", *ON_A_CPU]
    left_out = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_API_KEY")
    bare = {name: value for name, value in environment().items() if name not in left_out}
    process = Process(command, bare)
    address = Address.parse(f"http://{HOST}:{port}/v1")
    try:
        said = told(address, process)
    finally:
        process.stop()

    for lacking in ("--logprobs-mode processed_logprobs", "--enable-lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
        assert lacking in said


def test_a_server_for_one_adapter_at_a_time_is_refused(model: Path):
    said = told_of(launch_of(model, max_loras=1))

    assert said.endswith("Start it again with --max-loras 2 or more.")


@contextmanager
def opened(folder: Path, base: PreTrainedModel) -> Iterator[torch.nn.Module]:
    """Open an adapter over the base, and give the base back as it was."""
    adapted = open_with_peft(folder, base, trainable=False)
    yield adapted
    adapted.unload()


def told_of(launch: Launch) -> str:
    sampler = sampler_of(launch)
    with pytest.raises(ConfigurationError) as caught:
        sampler.publish(BASE, None)
    sampler.close()
    return str(caught.value)


def told(address: Address, process: Process) -> str:
    """Give what a server is refused with, once it runs."""
    while process.exit_status is None:
        sampler = sampler_of(address)
        try:
            sampler.publish(BASE, None)
        except SamplerLostError:
            time.sleep(0.5)
        except ConfigurationError as error:
            return str(error)
        finally:
            sampler.close()
    raise AssertionError(process.last_words())


def get(address: Address, path: str) -> httpx.Response:
    return httpx.get(f"{address}{path}", headers={"Authorization": f"Bearer {KEY}"})


def names(address: Address) -> list[str]:
    """Give what the server calls its models."""
    return [model["id"] for model in get(address, "/v1/models").json()["data"]]


def running_at(address: Address) -> float:
    lines = get(address, "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running{"))


def server_of(launch: Launch) -> psutil.Process:
    """Give the process that serves."""
    below = psutil.Process().children(recursive=True)
    commands = [(process, process.cmdline()) for process in below]
    [serving] = [
        process for process, command in commands if str(launch.port) in command and not command[2].endswith("keeper.py")
    ]
    return serving


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(100):
        if holds():
            return True
        time.sleep(0.05)
    return False
