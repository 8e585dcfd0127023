"""Small real models and made-up rollouts for the tests of training."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from openai.types.chat.chat_completion import Choice
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from art.trajectories import SampledTokens, Trajectory, TrajectoryGroup

VOCABULARY = 260
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.25,
    "pad_token_id": 256,
    "bos_token_id": 257,
    "eos_token_id": 258,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**SHAPE),
    "qwen3": lambda: Qwen3Config(**SHAPE),
    "gemma2": lambda: Gemma2Config(**SHAPE, sliding_window=64),
    "gemma3": lambda: Gemma3TextConfig(**SHAPE, sliding_window=64, final_logit_softcapping=10.0),
    "gemma3-short-window": lambda: Gemma3TextConfig(**SHAPE, sliding_window=6),
}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }}:{{ c.function.arguments.x }}]{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_base(family: str = "qwen3", *, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    config = CONFIGS[family]()
    config.name_or_path = f"tests/tiny-{family}"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, then <pad>, <bos>, <eos>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: place for place, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    fast.chat_template = TEMPLATE
    return fast


def choice(
    token_ids: Sequence[int],
    *,
    prompt_ids: Sequence[int] | None,
    logprobs: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Choice:
    sampled = SampledTokens(
        tuple(prompt_ids) if prompt_ids is not None else None,
        tuple(token_ids),
        tuple(logprobs if logprobs is not None else [-5.0] * len(token_ids)),
        temperature,
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
