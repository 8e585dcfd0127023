"""The engine by itself: versions, batches, failures, and the numbers it gives."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from adapters import write_random_adapter
from art.errors import ConfigurationError, InferenceError, NotFoundError, QueueFullError
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from small import small_causal_lm

from .serving import BASE, sample, version_of

LOGPROB_TOLERANCE = 1e-4
"""float32 sums in another order; measured 1e-5."""
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {},
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 16},
}


def prompt_of(length: int, *, seed: int = 0) -> list[int]:
    chosen = random.Random(seed)
    return [chosen.randrange(256) for _ in range(length)]


@pytest.fixture
def adapter(base: PreTrainedModel, tmp_path: Path) -> Callable[..., Path]:
    """Writes random adapters of the base."""
    return lambda seed, **options: write_random_adapter(tmp_path / f"adapter-{seed}", base, seed=seed, **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [None, 3])
def test_logprobs_are_those_of_a_plain_forward_pass(
    engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast, family: str, seed: int | None
) -> None:
    model = small_causal_lm(tokenizer, family=family, **FAMILIES[family]).eval()
    model.set_attn_implementation("eager")
    engine = engines(model, tokenizer)
    # Shared and single prompts, rows that outgrow a slab, prompts shorter and longer than the window.
    asked = [(prompt_of(3), 4, 30), (prompt_of(70), 3, 80), (prompt_of(10), 1, 70), (prompt_of(3), 1, 20)]

    async def run():
        return await asyncio.gather(
            *(sample(engine, prompt, n=n, max_tokens=count, temperature=1.3, seed=seed) for prompt, n, count in asked)
        )

    for (prompt, _, _), answers in zip(asked, asyncio.run(run()), strict=True):
        for tokens in answers.values():
            ids = [token for token, _ in tokens]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits / 1.3, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
            assert [logprob for _, logprob in tokens] == pytest.approx(expected.tolist(), abs=LOGPROB_TOLERANCE)


def test_a_prompt_longer_than_one_piece_is_prefilled_right(
    monkeypatch: pytest.MonkeyPatch, engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast
) -> None:
    monkeypatch.setattr("art.sample.own.prefill.PREFILL_TOKENS", 7)
    model = small_causal_lm(tokenizer, family="gemma3_text", **FAMILIES["gemma3_text"]).eval()
    engine, prompt = engines(model, tokenizer), prompt_of(50)

    [(token, logprob)] = asyncio.run(sample(engine, prompt, max_tokens=1))[0]

    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1], -1)[token]
    assert logprob == pytest.approx(expected.item(), abs=LOGPROB_TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_seed_repeats_bit_for_bit_whatever_else_is_in_the_batch(
    engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    engine = engines(small_causal_lm(tokenizer).to(dtype).eval(), tokenizer)
    prompts = [prompt_of(length, seed=length) for length in (3, 17, 40, 61)]
    probes = [
        {"prompt": prompts[1], "seed": 11, "n": 2, "max_tokens": 20},
        {"prompt": prompts[3], "seed": 12, "max_tokens": 30, "top_p": 0.9},
    ]
    chosen = random.Random(0)

    def other() -> dict[str, object]:
        return {
            "prompt": chosen.choice(prompts),
            "seed": chosen.choice([None, chosen.randrange(99)]),
            "n": chosen.choice([1, 1, 2, 5]),
            "max_tokens": chosen.randrange(1, 20),
            "delay_s": chosen.random() * 0.05,
        }

    async def run(asked: list[dict[str, object]]):
        return await asyncio.gather(*(sample(engine, **each) for each in asked))

    alone = [asyncio.run(run([probe]))[0] for probe in probes]
    mixed = []
    for number in range(1, 11):
        # A version of its own, so that no prompt is known from the batch before.
        engine.publish(version := version_of(number), None)
        late = [{**probe, "delay_s": chosen.random() * 0.03} for probe in probes]
        asked = [*late, *(other() for _ in range(chosen.randrange(10)))]
        mixed.append(asyncio.run(run([{**each, "version": version} for each in asked]))[:2])

    assert all(each == alone for each in mixed)


# Neither size is a whole number of a processor's vectors, the second one in each of three threads.
@pytest.mark.parametrize(("width", "threads"), [(77, 1), (4868, 3)])
def test_a_seed_gives_the_same_bits_at_every_place_of_a_full_pass(
    engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast, width: int, threads: int
) -> None:
    engine = engines(small_causal_lm(tokenizer, intermediate_size=width).eval(), tokenizer)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    async def together():
        probe = {"prompt": prompt_of(9), "seed": 5, "max_tokens": 12}
        return await asyncio.gather(*(sample(engine, **probe) for _ in range(16)))

    answers = asyncio.run(together())

    torch.set_num_threads(before)
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("family", ["mixtral", "granitemoe"])
def test_a_seed_repeats_where_experts_see_only_the_rows_that_chose_them(
    engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast, family: str
) -> None:
    model = small_causal_lm(tokenizer, family=family, hidden_size=128, intermediate_size=256, num_local_experts=4)
    engine = engines(model.eval(), tokenizer)
    probes = [{"prompt": prompt_of(5 + 4 * seed, seed=seed), "seed": seed, "max_tokens": 12} for seed in range(6)]

    async def together():
        return await asyncio.gather(*(sample(engine, **probe) for probe in probes))

    alone = [asyncio.run(sample(engine, **probe)) for probe in probes]

    assert asyncio.run(together()) == alone


def test_different_seeds_and_choices_differ(engine: Engine) -> None:
    async def run():
        return [await sample(engine, prompt_of(5), seed=seed, n=2, max_tokens=20) for seed in (1, 2)]

    first, second = asyncio.run(run())

    assert len({str(tokens) for tokens in (*first.values(), *second.values())}) == 4


def test_sampling_follows_the_models_distribution(engine: Engine, base: PreTrainedModel) -> None:
    prompt, draws = prompt_of(4), 128 * 40
    with torch.no_grad():
        expected = torch.softmax(base(torch.tensor([prompt])).logits[0, -1], -1)

    async def run():
        return await asyncio.gather(*(sample(engine, prompt, n=128, seed=seed, max_tokens=1) for seed in range(40)))

    tokens = torch.tensor([answer[0][0] for answers in asyncio.run(run()) for answer in answers.values()])

    seen = torch.bincount(tokens, minlength=len(expected)) / draws
    # Half the summed difference; 5120 draws over 259 tokens miss by about 0.08.
    assert (seen - expected).abs().sum() / 2 < 0.12


@pytest.mark.parametrize(("cut", "kept"), [({"top_k": 3}, 3), ({"top_p": 1e-9}, 1), ({"temperature": 0}, 1)])
def test_a_cut_keeps_the_likeliest_tokens(
    engine: Engine, base: PreTrainedModel, cut: dict[str, float], kept: int
) -> None:
    prompt = prompt_of(4)
    with torch.no_grad():
        logp = torch.log_softmax(base(torch.tensor([prompt])).logits[0, -1], -1)

    answers = asyncio.run(sample(engine, prompt, n=100, max_tokens=1, **cut))

    best = set(logp.topk(kept).indices.tolist())
    sampled = dict(answer[0] for answer in answers.values())
    assert set(sampled) == best
    # The log-probability is the one before the cut.
    assert all(sampled[token] == pytest.approx(logp[token].item(), abs=LOGPROB_TOLERANCE) for token in best)


def test_a_shared_prompt_is_prefilled_once(engine: Engine) -> None:
    async def run() -> None:
        await asyncio.gather(*(sample(engine, prompt_of(30), n=4) for _ in range(6)))
        await sample(engine, prompt_of(30))

    asyncio.run(run())

    assert engine.prompts_prefilled == 1


def test_a_new_version_leaves_running_requests_on_theirs(
    engines: Callable[..., Engine],
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    adapter: Callable[..., Path],
) -> None:
    prompt, long = prompt_of(20), {"max_tokens": 200, "seed": 1, "temperature": 0.9}
    alone, engine = engines(base, tokenizer), engines(base, tokenizer)
    first = adapter(1)
    for each in (alone, engine):
        each.publish(version_of(1), first)
    before = {name: parameter.detach().clone() for name, parameter in base.named_parameters()}

    async def run():
        old = asyncio.ensure_future(sample(engine, prompt, version=version_of(1), **long))
        while not engine.load().rows:
            await asyncio.sleep(0.001)
        engine.publish(version_of(2), adapter(2))
        engine.retire(version_of(1))
        new = await sample(engine, prompt, version=version_of(2), **long)
        with pytest.raises(NotFoundError, match="shop/agent#0@1"):
            await sample(engine, prompt, version=version_of(1))
        return await old, new

    old, new = asyncio.run(run())

    assert old == asyncio.run(sample(alone, prompt, version=version_of(1), **long))
    assert new != old
    assert asyncio.run(sample(engine, prompt, **long)) == asyncio.run(sample(alone, prompt, **long))
    assert all(torch.equal(before[name], parameter) for name, parameter in base.named_parameters())


def test_a_retired_versions_tensors_are_dropped(engine: Engine, adapter: Callable[..., Path]) -> None:
    engine.publish(version_of(1), adapter(1))
    tensors = [low_rank.A_RI for low_rank in engine._cohorts[version_of(1)].low_ranks.values()]
    alive = torch.utils.weak.WeakIdKeyDictionary(dict.fromkeys(tensors, True))
    asyncio.run(sample(engine, prompt_of(5), version=version_of(1)))

    engine.retire(version_of(1))
    del tensors
    for _ in range(200):
        if not len(alive):
            break
        threading.Event().wait(0.01)

    assert not len(alive)


def test_a_model_with_other_attention_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import AutoModelForCausalLM, BloomConfig

    model = AutoModelForCausalLM.from_config(BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=300))

    with pytest.raises(ConfigurationError, match="Bloom"):
        Engine(model, tokenizer)


@pytest.mark.parametrize("prompt", [[], [-1], [100_000], [1] * 1024])
def test_a_prompt_that_cannot_be_is_refused(engine: Engine, prompt: list[int]) -> None:
    with pytest.raises(ConfigurationError):
        asyncio.run(sample(engine, prompt))


def test_more_choices_than_rows_take_turns(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = engines(base, tokenizer, max_rows=3)

    answers = asyncio.run(sample(engine, prompt_of(9), n=20, seed=4, max_tokens=6))

    plenty = engines(base, tokenizer)
    assert answers == asyncio.run(sample(plenty, prompt_of(9), n=20, seed=4, max_tokens=6))


def test_a_cancelled_choice_leaves_the_others(engine: Engine) -> None:
    async def run() -> list[int]:
        generation = engine.submit(BASE, prompt_of(9), n=3, sampling=Sampling(max_tokens=50, seed=1))
        counts = [0, 0, 0]
        async for token in generation:
            counts[token.choice] += 1
            if token.choice == 1 and counts[1] == 5:
                generation.cancel(1)
        return counts

    assert asyncio.run(run()) == [50, 5, 50]


def test_closing_fails_what_runs_and_what_waits(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = engines(base, tokenizer, max_rows=2)

    async def run():
        asked = [asyncio.ensure_future(sample(engine, prompt_of(9), max_tokens=1000)) for _ in range(6)]
        while not engine.load().rows:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(engine.close)
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(run())

    assert all(isinstance(answer, InferenceError) for answer in answers)
    assert "art-serve" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(InferenceError, match="closed"):
        asyncio.run(sample(engine, prompt_of(2)))
    engine.close()


def test_a_failing_version_does_not_hurt_the_others(engine: Engine, adapter: Callable[..., Path]) -> None:
    engine.publish(version_of(1), adapter(1, size=float("nan")))

    async def run():
        return await asyncio.gather(
            sample(engine, prompt_of(9), max_tokens=60),
            sample(engine, prompt_of(9), version=version_of(1), n=3),
            return_exceptions=True,
        )

    good, bad = asyncio.run(run())

    assert isinstance(bad, InferenceError)
    assert "shop/agent#0@1" in str(bad)
    assert len(good[0]) == 60


def test_a_full_queue_refuses(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = engines(base, tokenizer, max_rows=1, max_waiting=2)

    async def run() -> None:
        for _ in range(10):
            engine.submit(BASE, prompt_of(3), sampling=Sampling(max_tokens=500))

    with pytest.raises(QueueFullError, match="waiting"):
        asyncio.run(run())


def test_an_abandoned_event_loop_does_not_stop_the_engine(engine: Engine) -> None:
    async def leave() -> None:
        engine.submit(BASE, prompt_of(3), sampling=Sampling(max_tokens=1000), n=8)

    asyncio.run(leave())

    assert len(asyncio.run(sample(engine, prompt_of(4), max_tokens=5))[0]) == 5
