"""Numbers that are not finite: the request that has them fails, and no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from art.errors import InferenceError
from art.sample.own.engine import Engine
from small import small_causal_lm

from .serving import Sampled, sample

POISON = 200
"""The token whose embedding is broken."""
HOT_SEED = 20
GOOD = [[7, 8, 9], [7, 8, 9], [30] * 70, [5]]


@pytest.fixture
def poisoned(engines: Callable[..., Engine], tokenizer: PreTrainedTokenizerFast) -> Engine:
    """An engine of which every pass that reads `POISON` gives NaN for the row that reads it."""
    model = small_causal_lm(tokenizer, tie_word_embeddings=False).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[POISON] = torch.nan
    return engines(model, tokenizer, max_rows=4)


def tokens_of(answers: list[Sampled | BaseException]) -> list[list[int]]:
    assert all(isinstance(answer, dict) for answer in answers), answers
    return [[token for token, _ in row] for answer in answers for row in answer.values()]  # type: ignore[union-attr]


async def together(engine: Engine, *asked: dict[str, object]) -> list[Sampled | BaseException]:
    return await asyncio.gather(*(sample(engine, **one) for one in asked), return_exceptions=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("prompt", [[7, POISON, 9], [POISON] * 40, [*[30] * 70, POISON]])
def test_a_prompt_that_breaks_the_numbers_fails_alone(
    poisoned: Engine, prompt: list[int], n: int, seed: int | None
) -> None:
    innocent = [{"prompt": good, "n": n, "seed": seed, "temperature": 0} for good in GOOD]
    guilty = {"prompt": prompt, "n": n, "seed": seed}

    *answers, broken, again = asyncio.run(together(poisoned, *innocent, guilty, guilty))

    assert isinstance(broken, InferenceError)
    assert isinstance(again, InferenceError)
    assert "not finite" in str(broken)
    assert all(isinstance(answer, dict) and len(answer) == n for answer in answers)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_row_that_breaks_while_it_decodes_fails_alone_and_its_slot_is_clean(
    engines: Callable[..., Engine], poisoned: Engine, seed: int | None
) -> None:
    # Samples POISON as its 25th token; the last request waits for its slot, beside rows that are longer by then.
    hot = {"prompt": [7, 8, 9], "seed": HOT_SEED, "temperature": 100.0, "max_tokens": 60}
    cool = [{"prompt": [7, 8, 9], "seed": seed, "temperature": 0, "max_tokens": 60, "n": 3}]
    late = {"prompt": [7, 8, 9], "seed": seed, "temperature": 0, "max_tokens": 20}

    *answers, broken, following = asyncio.run(together(poisoned, *cool, hot, late))
    *expected, undisturbed = asyncio.run(together(poisoned, *cool, late))

    assert isinstance(broken, InferenceError)
    assert tokens_of(answers) == tokens_of(expected)
    assert tokens_of([following]) == tokens_of([undisturbed])


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-39, 1e-30, 1e-7])
@pytest.mark.parametrize("seed", [None, 3])
def test_a_tiny_temperature_takes_the_likeliest_token(engine: Engine, temperature: float, seed: int | None) -> None:
    asked = {"prompt": [7, 8, 9], "seed": seed}

    tiny, greedy, *others = asyncio.run(
        together(
            engine,
            {**asked, "temperature": temperature, "n": 2},
            {**asked, "temperature": 0, "n": 2},
            *({**asked, "temperature": 1.0} for _ in range(6)),
        )
    )

    assert tokens_of([tiny]) == tokens_of([greedy])
    assert all(isinstance(other, dict) for other in others)


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 3e38},
        {"temperature": 1e-5},
        {"top_p": 5e-324},
        {"top_p": 1e-9, "temperature": 1e-4},
        {"top_k": 1},
    ],
)
def test_extreme_values_have_finite_log_probabilities(engine: Engine, sampling: dict[str, float]) -> None:
    [answer] = asyncio.run(together(engine, {"prompt": [7, 8, 9], "n": 3, **sampling}))

    assert isinstance(answer, dict)
    assert all(torch.isfinite(torch.tensor(logprob)) for rows in answer.values() for _, logprob in rows)
