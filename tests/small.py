"""Small real models: random weights, a byte-level tokenizer, a ChatML template with tools. Anything can open them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# The first 256 ids are the bytes, in ByteLevel's order; then these.
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.25,  # LoRA on a random model never learns at the usual 0.02
    "tie_word_embeddings": True,
}

CHATML = """\
{%- if tools %}{{ '<|im_start|>system\\nTools: ' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>\\n' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) }}
        {{- '\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def write_small_model(folder: Path, *, seed: int = 0, family: str = "qwen3", **overrides: Any) -> Path:
    """Write a model of `family` (any causal LM of transformers by its model type) and its tokenizer; gives `folder`."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    small_causal_lm(tokenizer, seed=seed, family=family, **overrides).save_pretrained(folder)
    return folder


def small_causal_lm(
    tokenizer: PreTrainedTokenizerFast, *, seed: int = 0, family: str = "qwen3", **overrides: Any
) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(family, **{**SHAPE, "vocab_size": len(tokenizer), **ids, **overrides})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte: text of any kind goes in, and decoding gives it back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={character: place for place, character in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=CHATML,
        model_max_length=SHAPE["max_position_embeddings"],
    )


def place_in_hub_cache(folder: Path, name: str) -> None:
    """Make `from_pretrained(name)` find the model of `folder`, as if it had been downloaded from the hub."""
    commit = "0" * 40
    place = Path(os.environ["HF_HOME"]) / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit, dirs_exist_ok=True)
