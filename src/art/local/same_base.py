"""Whether a sampler that runs elsewhere serves the base model that is trained here, tried once when it is made."""

from __future__ import annotations

import asyncio

import torch
from transformers import PreTrainedModel

from art.errors import ConfigurationError
from art.sample.sampler import Sampler
from art.sample.sampling import Sampling
from art.sample.version import BASE

PROMPT_TOKENS, ANSWER_TOKENS = 12, 8
TOLERANCE, COARSE_TOLERANCE = 0.05, 1.0
"""In nats, on average. Rounding makes up to 1e-4 in float32, and up to 0.5 where numbers have 16 bits."""


def check_same_base(sampler: Sampler, base: PreTrainedModel) -> None:
    """Compare the log-probabilities of an answer with the model's own; raises `ConfigurationError`.

    Call it where no event loop runs.
    """
    vocabulary = base.config.get_text_config().vocab_size
    prompt = [(7 + 31 * place) % vocabulary for place in range(PROMPT_TOKENS)]
    ids, logprobs = asyncio.run(_answer(sampler, prompt))
    with torch.no_grad():
        input_ids = torch.tensor([prompt + ids], device=base.device)
        logits_NV = base(input_ids=input_ids, use_cache=False).logits[0, PROMPT_TOKENS - 1 : -1].float()
    own_N = torch.log_softmax(logits_NV, -1).cpu().gather(-1, torch.tensor(ids)[:, None])[:, 0]
    off = (own_N - torch.tensor(logprobs)).abs().mean().item()
    if not off <= (TOLERANCE if base.dtype == torch.float32 else COARSE_TOLERANCE):
        raise ConfigurationError(
            f"The sampler does not serve {base.name_or_path or 'the base model'} as it is trained here: the log-"
            f"probabilities of the same tokens differ by {off:.2g} on average. Let it serve the same weights, in "
            f"{base.dtype}."
        )


async def _answer(sampler: Sampler, prompt: list[int]) -> tuple[list[int], list[float]]:
    sampling = Sampling(max_tokens=ANSWER_TOKENS)
    drawn = [token.drawn async for token in sampler.submit(BASE, prompt, sampling=sampling)]
    return [each.token_id for each in drawn], [each.logprob for each in drawn]
