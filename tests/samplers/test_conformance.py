"""What every sampler promises, asked of each: our engine, the plain one of the page on extending, and vLLM.

`make test-vllm` asks vLLM; elsewhere these are skipped.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from art.errors import ArtError, ConfigurationError, InferenceError, NotFoundError
from art.sample.base import LoadedBase, NewSampler
from art.sample.sampler import Sampler
from art.sample.sampling import Sampling
from art.sample.version import BASE

from .asking import PROMPT, SAMPLERS, Sampled, ask, until, version

Adapters = Callable[[int], Path]
Threads = set[threading.Thread]
CLOSE = 1e-4
"""Nats: sums in another order, in float32."""
LONG = 400
"""Tokens that take a while."""


@pytest.fixture(params=[*SAMPLERS, pytest.param("vllm", marks=pytest.mark.vllm)])
def new(request: pytest.FixtureRequest) -> NewSampler:
    return SAMPLERS[request.param] if request.param in SAMPLERS else request.getfixturevalue("vllm")


@pytest.fixture
def sampler(new: NewSampler, opened: Callable[[NewSampler], Sampler]) -> Sampler:
    return opened(new)


@pytest.fixture
def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def check(answers: Sampled, folder: Path, adapter: Path | None, *, temperature: float = 1.0) -> None:
    """Compare log-probabilities with those of transformers' own forward pass, through PEFT."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel.from_pretrained(model, str(adapter))
    for tokens in answers.values():
        ids = [token for token, _ in tokens]
        with torch.no_grad():
            logits_TV = model(torch.tensor([[*PROMPT, *ids]])).logits[0, len(PROMPT) - 1 : -1].float()
        logp_T = (logits_TV / temperature).log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
        assert [logprob for _, logprob in tokens] == pytest.approx(logp_T.tolist(), abs=CLOSE)


def test_making_one_starts_nothing_and_closing_leaves_nothing(
    new: NewSampler, base: LoadedBase, threads: set[threading.Thread]
):
    sampler = new(base)
    begun = set(threading.enumerate())
    sampler.publish(BASE, None)
    asyncio.run(ask(sampler))

    sampler.close()

    # Threads of whoever loaded the base may end meanwhile.
    assert begun <= threads
    assert set(threading.enumerate()) <= threads


def test_log_probabilities_are_those_of_a_plain_forward_pass(sampler: Sampler, small_model: Path, adapter: Adapters):
    sampler.publish(version(1), adapter(1))
    cut: dict[str, Any] = {} if sampler.traits.truncated_logprobs else {"top_p": 0.5}

    plain = asyncio.run(ask(sampler, n=2))
    adapted = asyncio.run(ask(sampler, version(1), n=3, temperature=0.7, **cut))

    assert [len(tokens) for tokens in adapted.values()] == [8, 8, 8]
    check(plain, small_model, None)
    check(adapted, small_model, adapter(1), temperature=0.7)


def test_at_temperature_0_the_likeliest_token_is_taken(sampler: Sampler, small_model: Path):
    model = AutoModelForCausalLM.from_pretrained(small_model)
    wanted = list(PROMPT)
    for _ in range(8):
        wanted.append(int(model(torch.tensor([wanted])).logits[0, -1].argmax()))

    [tokens] = asyncio.run(ask(sampler, temperature=0.0)).values()

    assert [token for token, _ in tokens] == wanted[len(PROMPT) :]


def test_running_requests_finish_on_a_version_that_was_retired(sampler: Sampler, small_model: Path, adapter: Adapters):
    sampler.publish(version(1), adapter(1))

    async def run() -> tuple[Sampled, Sampled]:
        old = asyncio.ensure_future(ask(sampler, version(1), max_tokens=LONG))
        await until(lambda: sampler.load().rows > 0)
        await asyncio.to_thread(sampler.publish, version(2), adapter(2))
        sampler.retire(version(1))
        was_running = not old.done()
        with pytest.raises(NotFoundError, match="shop/agent#1@1"):
            await ask(sampler, version(1))
        assert was_running
        return await old, await ask(sampler, version(2))

    old, new = asyncio.run(run())

    assert len(old[0]) == LONG
    check(old, small_model, adapter(1))
    check(new, small_model, adapter(2))


def test_retiring_what_is_not_there_does_nothing(sampler: Sampler):
    sampler.retire(version(7))

    assert asyncio.run(ask(sampler))


def test_an_adapter_that_cannot_be_read_is_not_published(sampler: Sampler, adapter: Adapters, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in adapter(1).iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:100])

    for folder in (broken, tmp_path / "nothing"):
        with pytest.raises(ArtError):
            sampler.publish(version(1), folder)

    with pytest.raises(NotFoundError):
        asyncio.run(ask(sampler, version(1)))


def test_a_cancelled_choice_leaves_the_others(sampler: Sampler):
    async def run() -> list[int]:
        generation = sampler.submit(BASE, PROMPT, n=3, sampling=Sampling(max_tokens=50, seed=1))
        counts = [0, 0, 0]
        async for token in generation:
            counts[token.choice] += 1
            if token.choice == 1 and counts[1] == 5:
                generation.cancel(1)
        return counts

    assert asyncio.run(run()) == [50, 5, 50]


def test_a_cancelled_request_gives_its_place_back(sampler: Sampler):
    async def run() -> None:
        generations = [sampler.submit(BASE, PROMPT, n=2, sampling=Sampling(max_tokens=900)) for _ in range(3)]
        await until(lambda: sampler.load().rows > 0)
        for generation in generations:
            generation.cancel()
        await until(lambda: sampler.load().rows == sampler.load().waiting == 0)

    asyncio.run(run())


def test_a_choice_ends_with_a_stop_token_or_for_its_length(sampler: Sampler, base: LoadedBase):
    async def reasons(prompt: list[int], **sampling: object) -> tuple[int, str | None]:
        generation = sampler.submit(BASE, prompt, sampling=Sampling(**sampling))  # type: ignore[arg-type]
        tokens = [token async for token in generation]
        assert all(token.finish_reason is None for token in tokens[:-1])
        return len(tokens), tokens[-1].finish_reason

    everything = frozenset(range(base.module.config.vocab_size))
    full = [5] * (sampler.context_length - 3)

    assert asyncio.run(reasons([1, 2], max_tokens=9, stop_ids=everything)) == (1, "stop")
    assert asyncio.run(reasons([1, 2], max_tokens=9)) == (9, "length")
    assert asyncio.run(reasons(full, max_tokens=9)) == (3, "length")


@pytest.mark.parametrize("prompt", [[], [-1], [1 << 20], [1] * 1024], ids=["empty", "negative", "beyond", "long"])
def test_a_prompt_that_cannot_be_is_refused(sampler: Sampler, prompt: list[int]):
    with pytest.raises(ConfigurationError):
        asyncio.run(ask(sampler, prompt=prompt))


def test_exact_seeds_repeat_whatever_else_is_sampled(sampler: Sampler):
    if not sampler.traits.exact_seeds:
        pytest.skip("its seeds are not exact")

    async def beside() -> Sampled:
        others = [asyncio.ensure_future(ask(sampler, prompt=[number, 2, 3])) for number in range(4)]
        answers = await ask(sampler, n=2, seed=5)
        await asyncio.gather(*others)
        return answers

    assert asyncio.run(beside()) == asyncio.run(ask(sampler, n=2, seed=5))


def test_closing_fails_what_runs_and_what_waits(new: NewSampler, base: LoadedBase, threads: Threads):
    sampler = new(base)
    sampler.publish(BASE, None)

    async def run() -> list[Sampled | BaseException]:
        asked = [asyncio.ensure_future(ask(sampler, max_tokens=1000)) for _ in range(3)]
        await until(lambda: sampler.load().rows > 0)
        await asyncio.to_thread(sampler.close)
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(run())

    assert all(isinstance(answer, InferenceError) for answer in answers)
    assert set(threading.enumerate()) <= threads
    with pytest.raises(InferenceError, match="closed"):
        asyncio.run(ask(sampler))
    with pytest.raises(InferenceError, match="closed"):
        sampler.publish(version(1), None)
    sampler.close()
