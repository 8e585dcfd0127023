"""LongRoPE: short and long rows together are read as each would be alone, in training and in sampling."""

from __future__ import annotations

import asyncio
import random

import pytest
import torch
from transformers import PreTrainedModel

from art.adapter.rope import rope_limit
from art.config import TrainConfig
from art.errors import ConfigurationError
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE
from art.train.batch import Example, collate
from art.train.forward import Scorer
from art.train.tokenize import ReadingLimits, Row, Span
from art.train.updates import updates
from small import byte_tokenizer, small_causal_lm

LIMIT = 32
# Sums in another order, in float32; frequencies of the wrong kind are off by whole nats.
CLOSE = 1e-4


@pytest.fixture
def base() -> PreTrainedModel:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [float(2 + place) for place in range(8)],
        "original_max_position_embeddings": LIMIT,
    }
    return small_causal_lm(
        byte_tokenizer(), family="phi3", rope_parameters=rope, original_max_position_embeddings=LIMIT
    ).eval()


def tokens(draw: random.Random, count: int) -> tuple[int, ...]:
    return tuple(draw.randrange(256) for _ in range(count))


@torch.no_grad()
def own_logp(base: PreTrainedModel, ids: tuple[int, ...], at: int) -> float:
    """What the model by itself says to the token at a place, having read those before it."""
    logits_V = base(input_ids=torch.tensor([ids[:at]]), use_cache=False).logits[0, -1]
    return logits_V.float().log_softmax(-1)[ids[at]].item()


def test_the_limit_is_read_from_the_configuration(base: PreTrainedModel):
    assert rope_limit(base.config) == LIMIT
    assert rope_limit(small_causal_lm(byte_tokenizer()).config) is None


def test_layers_of_several_kinds_have_the_least_of_their_limits(base: PreTrainedModel):
    full = {**base.config.rope_parameters, "original_max_position_embeddings": 2 * LIMIT}
    layers = {"full_attention": full, "sliding_attention": base.config.rope_parameters}

    assert rope_limit(type(base.config)(rope_parameters=layers)) == LIMIT


def test_positions_that_a_longer_text_changes_for_good_are_refused():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0}
    base = small_causal_lm(byte_tokenizer(), family="llama", rope_parameters=rope).eval()

    with pytest.raises(ConfigurationError, match="dynamic NTK"):
        Engine(base, byte_tokenizer())
    with pytest.raises(ConfigurationError, match="dynamic NTK"):
        Scorer(base)


def test_short_and_long_rows_are_trained_on_apart(base: PreTrainedModel):
    draw = random.Random(0)
    lengths = [(10, 4), (40, 4), (12, 3), (28, 3), (50, 5)]
    examples = [
        Example(
            row=Row((*tokens(draw, prompt + said),), (Span(start=prompt, logprobs=(-1.0,) * said, temperature=1.0),)),
            advantages=(1.0,),
            trajectory=place,
            trajectory_tokens=said,
        )
        for place, (prompt, said) in enumerate(lengths)
    ]
    own = [
        torch.tensor(base(input_ids=torch.tensor([each.row.token_ids[:-1]])).logits[0].log_softmax(-1).tolist())
        for each in examples
    ]
    limits = ReadingLimits(vocabulary=259, context=None, rope=rope_limit(base.config))

    [update] = updates(examples, TrainConfig(minibatches=1), limits=limits, pass_tokens=10_000)

    assert [[each.trajectory for each in one] for one in update.passes] == [[0], [1], [2, 3], [4]]
    scorer = Scorer(base)
    for one in update.passes:
        found_N = scorer.score(collate(one, device=torch.device("cpu"))).logp_N
        wanted = [
            own[each.trajectory][at - 1, each.row.token_ids[at]]
            for each in one
            for at in range(each.row.spans[0].start, len(each.row.token_ids))
        ]
        assert torch.allclose(found_N, torch.stack(wanted), atol=CLOSE)


@pytest.mark.parametrize("seed", [None, 3])
def test_answers_beside_one_another_and_across_the_limit_are_sampled_as_alone(base: PreTrainedModel, seed):
    draw = random.Random(1)
    prompts = [tokens(draw, count) for count in (8, 25, 26, 60)]
    engine = Engine(base, byte_tokenizer())
    engine.publish(BASE, None)

    async def answer(prompt: tuple[int, ...], n: int) -> list[list[tuple[int, float]]]:
        said: list[list[tuple[int, float]]] = [[] for _ in range(n)]
        sampling = Sampling(max_tokens=12, seed=seed, stop_ids=frozenset())
        async for token in engine.submit(BASE, prompt, sampling=sampling, n=n):
            said[token.choice].append((token.drawn.token_id, token.drawn.logprob))
        return said

    async def all_of_them() -> list[list[list[tuple[int, float]]]]:
        return await asyncio.gather(*(answer(prompt, 2) for prompt in prompts))

    answers = asyncio.run(all_of_them())
    engine.close()

    for prompt, choices in zip(prompts, answers, strict=True):
        for said in choices:
            ids = (*prompt, *(token_id for token_id, _ in said))
            wanted = [own_logp(base, ids, at) for at in range(len(prompt), len(ids))]
            assert [logprob for _, logprob in said] == pytest.approx(wanted, abs=CLOSE)
