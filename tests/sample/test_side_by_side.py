"""Rows of several versions share a pass: the base is read once, and each row gets its own version's numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from adapters import write_random_adapter
from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.sample.own.engine import Engine
from small import small_causal_lm

from .passes import watch_passes
from .serving import sample, version_of

VERSIONS = (None, 1, 2)
"""The base, and adapters by their seeds."""
PROMPT, TOKENS = list(range(40, 52)), 12
# Sums in another order; in bfloat16 of numbers that are 10,000 times as coarse.
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.3}


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("qwen3", torch.float32), ("qwen3", torch.bfloat16), ("gpt2", torch.float32), ("mixtral", torch.float32)],
)
def test_versions_in_one_pass_each_give_their_own_numbers(
    engines: Callable[..., Engine],
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    family: str,
    dtype: torch.dtype,
) -> None:
    base: Any = small_causal_lm(tokenizer, family=family).eval()
    base.to(dtype)
    folders = {seed: write_random_adapter(tmp_path / str(seed), base, seed=seed) for seed in VERSIONS if seed}
    engine = engines(base, tokenizer)
    for seed in VERSIONS:
        engine.publish(version_of(seed or 0), folders[seed] if seed else None)
    passes: list[None] = []
    watch_passes(engine, lambda: passes.append(None))

    async def run():
        return await asyncio.gather(
            *(sample(engine, PROMPT, version=version_of(seed or 0), n=2, max_tokens=TOKENS) for seed in VERSIONS)
        )

    answers = asyncio.run(run())

    for seed, choices in zip(VERSIONS, answers, strict=True):
        alone = AdaptedModel(base)
        alone.set(read_adapter(folders[seed], alone.sizes, device=base.device) if seed else {})
        for tokens in choices.values():
            ids = [token for token, _ in tokens]
            with torch.no_grad():
                logits = alone.model(torch.tensor([PROMPT + ids])).logits[0, len(PROMPT) - 1 : -1]
            wanted = logits.float().log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
            assert [logprob for _, logprob in tokens] == pytest.approx(wanted.tolist(), abs=CLOSE[dtype])
    # Experts see some rows of a pass, so a mixture of them takes a pass a version.
    if family != "mixtral":
        # A pass for each prompt, and one for each further token, however many versions there are.
        assert TOKENS <= len(passes) <= len(VERSIONS) + TOKENS + 2
