"""What is served is what was trained, at the precision that people train in: bfloat16, and steps of 5e-6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openai.types.chat.chat_completion import Choice
from torch import Tensor

from art.config import LoRAConfig, TrainConfig
from art.names import ModelRef
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE, Version
from art.train.batch import Example, collate
from art.train.tokenize import Row, Span
from art.train.trainer import Trainer
from art.trajectories import SampledTokens, Trajectory, TrajectoryGroup
from small import byte_tokenizer, small_causal_lm

RATE = TrainConfig(learning_rate=5e-6)
STEPPED = Version(model=ModelRef("shop", "agent"), publication=1, step=1)
OF_THE_CHANGE = 0.05
COMPARED = 120
"""How many tokens' log-probabilities are compared."""
# Long enough that a step of this size moves some bfloat16 numbers on the way: they are 10,000 times as coarse.
PROMPTS = [f"{word}, and then say what comes after it, in {number} words or more" for number, word in enumerate("abc")]


@pytest.fixture(scope="module", params=["small", pytest.param("smollm2", marks=pytest.mark.slow)])
def loaded(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A base model in bfloat16, and its tokenizer."""
    if request.param == "small":
        tokenizer = byte_tokenizer()
        return small_causal_lm(tokenizer).bfloat16().eval(), tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = request.getfixturevalue("smollm2")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval(), AutoTokenizer.from_pretrained(
        folder
    )


@pytest.fixture
def engine(loaded: tuple[Any, Any]) -> Iterator[Engine]:
    engine = Engine(*loaded)
    engine.publish(BASE, None)
    yield engine
    engine.close()


def served_logp(engine: Engine, version: Version, prompt: list[int], vocabulary: int) -> Tensor:
    """Give what the engine would say next: the log-probability of every token."""

    async def ask() -> list[tuple[int, float]]:
        sampling = Sampling(max_tokens=1, top_logprobs=vocabulary, seed=0)
        [token] = [token async for token in engine.submit(version, prompt, sampling=sampling)]
        return sorted(token.drawn.top)

    return torch.tensor([logprob for _, logprob in asyncio.run(ask())])


def trained_logp(trainer: Trainer, prompt: list[int], vocabulary: int) -> Tensor:
    """Give the same of the first tokens, as the trainer computes it."""
    tokens = range(min(COMPARED, vocabulary))
    rows = [Row((*prompt, token), (Span(start=len(prompt), logprobs=(0.0,), temperature=1.0),)) for token in tokens]
    batch = collate(
        [Example(row=row, advantages=(1.0,), trajectory=0, trajectory_tokens=1) for row in rows],
        device=torch.device("cpu"),
    )
    with torch.no_grad():
        return trainer._scorer.score(batch).logp_N  # pyright: ignore[reportPrivateUsage]


def rollouts(engine: Engine, version: Version, prompt: list[int]) -> TrajectoryGroup:
    """Sample a group, and reward what has small token ids."""

    async def ask() -> list[list[tuple[int, float]]]:
        answers: list[list[tuple[int, float]]] = [[] for _ in range(6)]
        async for token in engine.submit(version, prompt, sampling=Sampling(max_tokens=8, seed=0), n=6):
            answers[token.choice].append((token.drawn.token_id, token.drawn.logprob))
        return answers

    def rewarded(answer: list[tuple[int, float]]) -> Trajectory:
        ids, logprobs = zip(*answer, strict=True)
        fields = SampledTokens(prompt_ids=tuple(prompt), token_ids=ids, logprobs=logprobs, temperature=1.0).as_fields()
        message = {"role": "assistant", "content": "said"}
        choice = Choice.model_validate({"index": 0, "finish_reason": "stop", "message": message, **fields})
        return Trajectory(messages_and_choices=[{"role": "user", "content": "ask"}, choice], reward=float(sum(ids)))

    return TrajectoryGroup(rewarded(answer) for answer in asyncio.run(ask()))


def test_one_small_step_in_bfloat16_is_served_as_it_was_trained(
    loaded: tuple[Any, Any], engine: Engine, tmp_path: Path
) -> None:
    base, tokenizer = loaded
    prompts = [tokenizer.encode(text) for text in PROMPTS]
    trainer = Trainer(base, tokenizer, lora=LoRAConfig(), seed=1)
    vocabulary = base.config.vocab_size
    before = torch.stack([trained_logp(trainer, prompt, vocabulary) for prompt in prompts])

    first = trainer.step([rollouts(engine, BASE, prompt) for prompt in prompts], RATE)
    trainer.save(tmp_path)
    engine.publish(STEPPED, tmp_path)

    trained = torch.stack([trained_logp(trainer, prompt, vocabulary) for prompt in prompts]) - before
    served_PV = {
        version: torch.stack([served_logp(engine, version, prompt, vocabulary) for prompt in prompts])
        for version in (BASE, STEPPED)
    }
    served = (served_PV[STEPPED] - served_PV[BASE])[:, :COMPARED]
    assert trained.norm() > 0
    assert (served - trained).norm() <= OF_THE_CHANGE * trained.norm()

    # The first step compares the base with itself, so all that it measures is rounding; so must all that the next does.
    second = trainer.step([rollouts(engine, STEPPED, prompt) for prompt in prompts], RATE)
    assert first["ratio"] == pytest.approx(1, abs=0.02)
    assert second["ratio"] == pytest.approx(1, abs=0.02)
    assert second["approx_kl"] < 3 * first["approx_kl"] + 1e-4


@pytest.mark.parametrize("targets", ["all-linear", ("lm_head",), ("q_proj", "lm_head")])
def test_an_adapter_is_served_as_it_was_trained_also_on_a_tied_output_layer(targets: Any, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    base = small_causal_lm(tokenizer).eval()
    assert base.config.tie_word_embeddings
    prompts = [tokenizer.encode(text) for text in PROMPTS]
    trainer = Trainer(base, tokenizer, lora=LoRAConfig(targets=targets), seed=1)
    engine = Engine(base, tokenizer)
    engine.publish(BASE, None)
    trainer.step([rollouts(engine, BASE, prompt) for prompt in prompts], TrainConfig(learning_rate=1e-2))
    trainer.save(tmp_path)

    engine.publish(STEPPED, tmp_path)

    metrics = trainer.step([rollouts(engine, STEPPED, prompt) for prompt in prompts], RATE)
    engine.close()
    assert metrics["ratio"] == pytest.approx(1, abs=1e-4)
    assert metrics["approx_kl"] < 1e-6
