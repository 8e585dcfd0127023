"""The model that the other tests stand on."""

from pathlib import Path

import pytest

from small import place_in_hub_cache, write_small_model

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


def test_text_survives_the_byte_tokenizer(small_model: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    text = "naïve 数 \n\t 🙂 <not special>"

    ids = tokenizer(text)["input_ids"]

    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_the_chat_template_marks_turns_with_single_tokens(small_model: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]

    text = tokenizer.apply_chat_template(messages, tools=TOOLS, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text)["input_ids"]

    assert text.endswith(
        '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"x": 1}}\n'
        "</tool_call><|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 4
    assert ids.count(tokenizer.eos_token_id) == 3


@pytest.mark.parametrize("family", ["qwen3", "llama", "qwen2", "gemma2"])
def test_a_seed_gives_the_same_weights_again(tmp_path: Path, family: str):
    first = write_small_model(tmp_path / "first", family=family, seed=3)
    again = write_small_model(tmp_path / "again", family=family, seed=3)
    other = write_small_model(tmp_path / "other", family=family, seed=4)

    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]

    assert weights[0] == weights[1] != weights[2]


def test_a_model_in_the_hub_cache_opens_by_its_name(small_model: Path):
    from transformers import AutoModelForCausalLM

    place_in_hub_cache(small_model, "someone/small")

    model = AutoModelForCausalLM.from_pretrained("someone/small")

    assert model.config.model_type == "qwen3"
