"""A merged model says what the base with its adapter says, and how much of the update rounding took is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters import SMALL, open_with_peft, write_random_adapter
from art.adapter.merged import write_merged
from art.config import LoRAConfig
from small import byte_tokenizer, small_causal_lm, write_small_model

IDS = torch.tensor([[10, 20, 30, 40, 50, 60]])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""Sums of another order, in float32."""
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 128}


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize(
    ("family", "lora", "shape"),
    [
        ("qwen3", SMALL, {}),
        ("qwen3", LoRAConfig(rank=4, targets=("lm_head", "q_proj")), {"tie_word_embeddings": False}),
        ("gpt2", LoRAConfig(rank=4, targets=("c_attn",)), GPT2),
    ],
)
def test_a_merged_model_is_the_base_with_its_adapter(
    tmp_path: Path, family: str, lora: LoRAConfig, shape: dict[str, Any]
):
    base = write_small_model(tmp_path / "base", family=family, **shape)
    opened = small_causal_lm(byte_tokenizer(), family=family, **shape)
    adapter = write_random_adapter(tmp_path / "adapter", opened, lora=lora)

    merged = write_merged(str(base), adapter, tmp_path / "merged")

    beside = open_with_peft(adapter, small_causal_lm(byte_tokenizer(), family=family, **shape), trainable=False)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(found), logits(beside), **CLOSE)
    assert not torch.allclose(logits(found), logits(AutoModelForCausalLM.from_pretrained(base).eval()), **CLOSE)
    assert merged.lost < 1e-6
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").decode([104, 105])


def test_an_output_layer_that_shares_the_embeddings_gets_weights_of_its_own(tmp_path: Path):
    base = write_small_model(tmp_path / "base")
    lora = LoRAConfig(rank=4, targets=("lm_head",))
    adapter = write_random_adapter(tmp_path / "adapter", small_causal_lm(byte_tokenizer()), lora=lora)

    write_merged(str(base), adapter, tmp_path / "merged")

    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    before = AutoModelForCausalLM.from_pretrained(base).eval()
    assert torch.equal(found.get_input_embeddings().weight, before.get_input_embeddings().weight)
    assert not torch.equal(found.get_output_embeddings().weight, before.get_output_embeddings().weight)


def test_rounding_to_the_precision_of_the_base_is_told(tmp_path: Path):
    base = write_small_model(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    opened = small_causal_lm(byte_tokenizer())
    tiny = write_random_adapter(tmp_path / "tiny", opened, size=1e-5)
    large = write_random_adapter(tmp_path / "large", opened, size=1.0)

    found = {
        adapter.name: write_merged(str(base), adapter, tmp_path / f"{adapter.name}-merged") for adapter in (tiny, large)
    }

    assert {merged.dtype for merged in found.values()} == {"bfloat16"}
    assert found["tiny"].lost > 0.9
    assert found["large"].lost < 0.1
