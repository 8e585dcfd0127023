"""Small real models and made-up rollouts for the tests of training."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from openai.types.chat.chat_completion import Choice
from transformers import PreTrainedModel

from art.trajectories import SampledTokens, Trajectory, TrajectoryGroup
from small import byte_tokenizer, small_causal_lm

# A window of 64 holds every test's rows whole; one of 6 holds none.
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {"family": "llama"},
    "mistral-short-window": {"family": "mistral", "sliding_window": 6},
    "qwen2": {"family": "qwen2"},
    "qwen3": {"family": "qwen3"},
    "gemma2": {"family": "gemma2", "sliding_window": 64},
    "gemma3": {"family": "gemma3_text", "sliding_window": 64, "final_logit_softcapping": 10.0},
    "gemma3-short-window": {"family": "gemma3_text", "sliding_window": 6},
    "granite": {"family": "granite", "logits_scaling": 4.0, "embedding_multiplier": 3.0, "attention_multiplier": 0.2},
    "phi3": {"family": "phi3"},
    "gpt2": {"family": "gpt2"},
    "opt": {"family": "opt", "word_embed_proj_dim": 64, "ffn_dim": 128},
    "mixtral": {"family": "mixtral", "num_local_experts": 2},
}


def make_base(name: str = "qwen3", *, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    return small_causal_lm(byte_tokenizer(), seed=seed, **FAMILIES[name]).to(dtype).eval()


def choice(
    token_ids: Sequence[int],
    *,
    prompt_ids: Sequence[int] | None,
    logprobs: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Choice:
    sampled = SampledTokens(
        prompt_ids=tuple(prompt_ids) if prompt_ids is not None else None,
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs if logprobs is not None else [-5.0] * len(token_ids)),
        temperature=temperature,
    )
    message = {"role": "assistant", "content": "said"}
    return Choice.model_validate({"index": 0, "finish_reason": "stop", "message": message, **sampled.as_fields()})


def trajectory(*choices: Choice, reward: float = 0.0, **fields: object) -> Trajectory:
    items = [item for spoken in choices for item in ({"role": "user", "content": "go on"}, spoken)]
    return Trajectory(messages_and_choices=items, reward=reward, **fields)


def random_groups(
    *, seed: int, groups: int = 3, members: int = 4, temperature: float = 1.0, prompt: tuple[int, int] = (4, 20)
) -> list[TrajectoryGroup]:
    """Groups with a prompt each, and completions of different lengths and rewards, some of them the same."""
    draw = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [draw.randrange(256) for _ in range(draw.randint(low, high))]

    made: list[TrajectoryGroup] = []
    for _ in range(groups):
        prompt_ids = tokens(*prompt)
        completions = [tokens(1, 9) for _ in range(members - 1)]
        completions.append(completions[0])
        made.append(
            TrajectoryGroup(
                trajectory(
                    choice(
                        completion,
                        prompt_ids=prompt_ids,
                        logprobs=[draw.uniform(-7, -4) for _ in completion],
                        temperature=temperature,
                    ),
                    reward=draw.random(),
                )
                for completion in completions
            )
        )
    return made
