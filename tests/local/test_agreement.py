"""A base model is tried when it is loaded, and refused by name where our passes compute something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from art.errors import ConfigurationError, ModelNotFoundError
from art.local.agreement import check_agreement
from art.local.bases import Bases
from small import byte_tokenizer, small_causal_lm, write_small_model

RIGHT: dict[str, dict[str, object]] = {
    "qwen3": {},
    "gemma2": {"sliding_window": 6},
    "gemma3_text": {"sliding_window": 6},
    "mistral": {"sliding_window": 6},
    "gpt2": {},
    "opt": {"word_embed_proj_dim": 64, "ffn_dim": 128},
    "mixtral": {"num_local_experts": 2},
    "phimoe": {"num_local_experts": 4},  # its router is a linear layer that gives a choice
    "gemma4_text": {"vocab_size_per_layer_input": 300, "num_kv_shared_layers": 0},
}
WRONG: dict[str, dict[str, object]] = {
    "diffllama": {},
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "bloom": {"n_layer": 1, "n_head": 2},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", RIGHT)
def test_a_family_that_agrees_is_taken_and_left_as_it_was(family: str, dtype: torch.dtype) -> None:
    base = small_causal_lm(byte_tokenizer(), family=family, **RIGHT[family]).to(dtype).eval()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}

    check_agreement(base)

    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert base.config._attn_implementation != "art"


@pytest.mark.parametrize("family", WRONG)
def test_a_family_that_our_passes_compute_otherwise_is_refused_by_name(family: str) -> None:
    base = small_causal_lm(byte_tokenizer(), family=family, **WRONG[family]).eval()

    with pytest.raises(ConfigurationError, match=type(base).__name__.removesuffix("ForCausalLM")):
        check_agreement(base)


@pytest.mark.parametrize(
    ("family", "fields", "words"),
    [
        ("gpt_oss", WRONG["gpt_oss"], "sinks"),
        ("qwen3_next", {"num_experts": 4, "num_experts_per_tok": 2}, "running state"),
        ("llama4_text", {"num_local_experts": 2}, "chunks"),
    ],
)
def test_known_reasons_have_words_of_their_own(family: str, fields: dict[str, object], words: str) -> None:
    base = small_causal_lm(byte_tokenizer(), family=family, **fields).eval()

    with pytest.raises(ConfigurationError, match=words):
        check_agreement(base)


def test_a_gradient_that_is_another_is_refused() -> None:
    base = small_causal_lm(byte_tokenizer()).eval()
    feed_forward = base.model.layers[1].mlp
    plain = feed_forward.forward
    # The same numbers, but without a gradient where more than one conversation is read.
    feed_forward.forward = lambda x: plain(x).detach() if x.shape[1] > 20 else plain(x)

    with pytest.raises(ConfigurationError, match="the gradient is off"):
        check_agreement(base)


def test_a_window_that_only_a_mask_tells_of_is_refused_before_a_conversation_is_as_long() -> None:
    base = small_causal_lm(byte_tokenizer(), family="doge", sliding_window=600).eval()

    with pytest.raises(ConfigurationError, match="a window that only a mask tells of"):
        check_agreement(base)

    assert base.config.sliding_window == 600
    check_agreement(small_causal_lm(byte_tokenizer(), family="doge", sliding_window=1024).eval())


def test_a_model_that_disagrees_is_not_loaded(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "diffllama", family="diffllama")
    bases = Bases(device="cpu", dtype="float32")

    with pytest.raises(ConfigurationError, match=r"DiffLlama.* nats off"):
        bases.open(str(folder))

    bases.close()
    with pytest.raises(ModelNotFoundError):
        bases.open(str(tmp_path / "none"))
