"""What a plan says a model takes, beside bytes that are counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_memory import QWEN3_06B, SMOLLM2, group, random_base
from worlds import make_base, random_groups

from allocated import Allocated
from art.adapter.attention import use_own_attention
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig, TrainConfig
from art.errors import ConfigurationError, ModelNotFoundError
from art.footprint import LAYER_WORK, PIECE_OF_LOGITS, dimensions_of, padded, pass_bytes
from art.local import LocalBackend
from art.ops.plan import Demand, plan
from art.sample.own.cache import Prompt
from art.sample.own.prefill import prefill
from art.train import head
from art.train.forward import Scorer
from art.train.recompute import StorageCount
from art.train.trainer import Trainer

RANK = 8
CLOSE = 0.1
QWEN3_14B = {
    "model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 17_408, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
    "tie_word_embeddings": False,
}  # fmt: skip


def bytes_of(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "dtype"), [(SMOLLM2, "float32"), (QWEN3_06B, "bfloat16")])
def test_a_plan_agrees_with_counted_bytes(shape, dtype):
    base = random_base(**{**shape, "num_hidden_layers": 6}, dtype=getattr(torch, dtype))
    dimensions = dimensions_of(base.config.to_dict(), dtype)
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=RANK), base_name="")
    adapter.start(0)
    scorer = Scorer(adapter.model, as_now=adapter.as_now)
    batch = group(prompt=128, answer=24, members=4)
    tokens = len(batch.token_T)

    scorer.score(batch, limit_bytes=1 << 40)
    kept = scorer.memory.counted_bytes[-1]
    count = StorageCount({each.untyped_storage().data_ptr() for each in adapter.model.parameters()})
    with count.counting():
        scorer.score(batch, limit_bytes=0)
    prompt = Prompt(tuple(range(tokens)))
    use_own_attention(base)
    with torch.no_grad():
        prefill(base, [prompt])

    assert dimensions.base_bytes == pytest.approx(bytes_of(base.parameters()), rel=CLOSE)
    assert dimensions.adapter_bytes(RANK) == bytes_of(adapter.parameters.values())
    assert dimensions.key_value_bytes() * padded(tokens) == bytes_of([*prompt.keys, *prompt.values])
    assert dimensions.layer_bytes(RANK) * tokens == pytest.approx(kept, rel=CLOSE)
    assert dimensions.input_bytes() * tokens * 6 == pytest.approx(without_the_head(count, batch, shape), rel=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "dtype"), [(SMOLLM2, "float32"), (QWEN3_06B, "bfloat16")])
def test_a_plan_agrees_with_the_most_that_a_pass_holds_at_once(shape, dtype):
    # So few words that the layers decide, and not the output layer.
    base = random_base(**{**shape, "num_hidden_layers": 2, "vocab_size": 2048}, dtype=getattr(torch, dtype))
    dimensions = dimensions_of(base.config.to_dict(), dtype)
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=RANK), base_name="")
    adapter.start(0)
    scorer = Scorer(adapter.model, as_now=adapter.as_now)
    batch = group(prompt=512, answer=128, members=8)
    known = [*base.parameters(), *base.buffers(), *adapter.parameters.values()]

    with Allocated(known) as allocated:
        scorer.score(batch, limit_bytes=0).logp_N.sum().backward()

    layers = LAYER_WORK * len(batch.token_T) * dimensions.layer_bytes(RANK)
    needed = pass_bytes(dimensions, tokens=len(batch.token_T), rank=RANK)
    assert needed.again + layers == pytest.approx(allocated.most_bytes, rel=CLOSE)
    assert needed.work == max(int(layers), dimensions.head_bytes())


def without_the_head(count: StorageCount, batch, shape) -> float:
    """Take away what every pass keeps once, beside its layers: the last norm, and the head's gradient."""
    slope_bytes = len(batch.target_N) * shape["hidden_size"] * (4 if shape is SMOLLM2 else 2)
    norm_bytes = len(batch.token_T) * shape["hidden_size"] * 4
    return count.total_bytes - slope_bytes - norm_bytes


def test_a_14b_model_fits_a_card_of_80_gb(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_14B))

    found = LocalBackend.plan(str(tmp_path), gpu_memory=80)

    assert found.fits
    assert {part.name: round(part.size_bytes / 1e9, 1) for part in found.parts}["base"] == 29.5
    assert found.settings[0].fits
    assert found.max_rows >= 64
    assert not plan(str(tmp_path), Demand(dtype="float32"), gpu_memory=80).fits


def test_what_is_not_counted_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({**QWEN3_14B, "num_experts": 8}))

    with pytest.raises(ConfigurationError, match="without experts"):
        plan(str(tmp_path), gpu_memory=80)
    with pytest.raises(ConfigurationError, match="GB"):
        plan(str(tmp_path), gpu_memory=-1)
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        plan(str(tmp_path / "nowhere"), gpu_memory=80)


def test_the_plan_knows_how_many_logits_there_are_at_once():
    assert PIECE_OF_LOGITS == head.MAX_LOGITS


def test_passes_that_fit_are_chosen_once_and_kept(tokenizer, tmp_path, monkeypatch):
    config = TrainConfig(micro_batch_tokens="auto")
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=0)
    monkeypatch.setattr("art.train.room.free_bytes", lambda _: 3 << 30)
    trainer.step(random_groups(seed=1), config)
    trainer.save(tmp_path)
    chosen = json.loads((tmp_path / "trainer.json").read_text())["pass_tokens"]

    monkeypatch.setattr("art.train.room.free_bytes", lambda _: 1 << 20)
    again = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=0)
    again.load(tmp_path)
    fresh = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=0)

    assert chosen == again._pass_tokens(config)
    assert fresh._pass_tokens(config) == 512 < chosen
