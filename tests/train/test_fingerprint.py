"""A base model is known by its configuration and tokenizer, wherever it lies; an environment by what bits depend on."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoTokenizer
from worlds import make_base

from art.train.fingerprint import base_fingerprint, environment
from small import byte_tokenizer, small_causal_lm


def test_a_fingerprint_is_the_same_wherever_the_model_lies(tmp_path, tokenizer):
    base = make_base()
    expected = base_fingerprint(base, tokenizer)
    for place in ("here", "there"):
        base.save_pretrained(tmp_path / place)
        tokenizer.save_pretrained(tmp_path / place)

    found = {
        base_fingerprint(
            AutoModelForCausalLM.from_pretrained(tmp_path / place), AutoTokenizer.from_pretrained(tmp_path / place)
        )
        for place in ("here", "there")
    }

    assert found == {expected}


def test_a_fingerprint_tells_another_shape_vocabulary_or_template_apart(tokenizer):
    base = make_base()
    other_template, other_vocabulary = byte_tokenizer(), byte_tokenizer()
    other_template.chat_template = "{{ messages }}"
    other_vocabulary.add_tokens(["<new>"])

    found = {
        base_fingerprint(base, tokenizer),
        base_fingerprint(base, other_template),
        base_fingerprint(base, other_vocabulary),
        base_fingerprint(make_base("llama"), tokenizer),
        base_fingerprint(small_causal_lm(tokenizer, num_hidden_layers=1), tokenizer),
        base_fingerprint(
            small_causal_lm(tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 5e5}), tokenizer
        ),
    }

    assert len(found) == 6


def test_the_environment_is_what_exactness_depends_on():
    assert environment(make_base()).keys() == {
        "device",
        "device_name",
        "dtype",
        "threads",
        "products",
        "torch",
        "transformers",
        "peft",
        "safetensors",
    }
