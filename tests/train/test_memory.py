"""What a pass keeps for its backward pass, counted, and that keeping less changes no bit."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from worlds import make_base, random_groups

from art.adapter.attention import Rules
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig, TrainConfig
from art.train import head
from art.train.attention import PackedPass
from art.train.batch import Example, Family, MicroBatch, collate
from art.train.flash import Flash
from art.train.forward import Scorer
from art.train.recompute import StorageCount
from art.train.tokenize import Row, Span
from art.train.trainer import Trainer

CPU = torch.device("cpu")
MIB = 1 << 20
SMOLLM2 = {
    "family": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152,
}  # fmt: skip
QWEN3_06B = {
    "family": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
}  # fmt: skip


def random_base(family: str, *, dtype: torch.dtype, **shape: object) -> PreTrainedModel:
    """A model of real dimensions whose weights are all the same number: what they are does not matter here."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(family, tie_word_embeddings=True, **shape), dtype=dtype
        )
    model = model.to_empty(device="cpu")
    model.tie_weights()
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            module.inv_freq.fill_(0.5)
    return model.eval().requires_grad_(False)


def group(*, prompt: int, answer: int, members: int) -> MicroBatch:
    examples = [
        Example(
            row=Row(
                (*range(prompt), *(100 + (member * 31 + place) % 900 for place in range(answer))),
                (Span(start=prompt, logprobs=(-1.0,) * answer, temperature=1.0),),
            ),
            advantages=(1.0,),
            trajectory=member,
            trajectory_tokens=answer,
        )
        for member in range(members)
    ]
    return collate(examples, device=CPU)


def kept_mib_a_token(base: PreTrainedModel, batch: MicroBatch, *, limit_bytes: int) -> float:
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=8), base_name="")
    adapter.start(0)
    scorer = Scorer(adapter.model, as_now=adapter.as_now)
    count = StorageCount({each.untyped_storage().data_ptr() for each in adapter.model.parameters()})
    with count.counting():
        scorer.score(batch, limit_bytes=limit_bytes)
    # The first layers that are kept are counted by the scorer itself.
    return (count.total_bytes + sum(scorer.memory.counted_bytes)) / MIB / len(batch.token_T)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "dtype", "most"), [(SMOLLM2, torch.float32, 0.35), (QWEN3_06B, torch.bfloat16, 0.6)])
def test_a_pass_keeps_little_of_a_token_where_there_is_no_room(shape, dtype, most):
    base = random_base(**shape, dtype=dtype)

    kept = kept_mib_a_token(base, group(prompt=128, answer=24, members=4), limit_bytes=0)

    assert kept <= most


@pytest.mark.slow
def test_layers_keep_their_tensors_as_far_as_there_is_room():
    base = random_base(**SMOLLM2, dtype=torch.float32)
    batch = group(prompt=64, answer=16, members=4)

    everything, half, nothing = (
        kept_mib_a_token(base, batch, limit_bytes=int(limit * len(batch.token_T) * MIB)) for limit in (10, 0.6, 0)
    )

    assert nothing < half < everything
    assert half <= 0.6 + nothing


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "gpt2", "opt", "mixtral"])
@pytest.mark.parametrize(("dtype", "dropout"), [(torch.float32, 0.0), (torch.float32, 0.3), (torch.bfloat16, 0.3)])
def test_layers_computed_again_give_the_same_bits(name, dtype, dropout, tokenizer, monkeypatch):
    def step(limit_bytes: int) -> list[torch.Tensor]:
        monkeypatch.setattr("art.train.forward.usable_bytes", lambda _: limit_bytes)
        trainer = Trainer(make_base(name, dtype=dtype), tokenizer, lora=LoRAConfig(rank=4, dropout=dropout), seed=0)
        for seed in (1, 2):
            trainer.step(random_groups(seed=seed), TrainConfig(learning_rate=1e-3))
        return [parameter.detach().clone() for parameter in trainer._adapter.parameters.values()]

    kept, again = step(1 << 40), step(0)

    assert all(map(torch.equal, kept, again))


@pytest.mark.parametrize("entropy_bonus", [0.0, 0.1])
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "granite"])
def test_the_heads_gradient_is_that_of_autograd(name, entropy_bonus):
    torch.manual_seed(0)
    model = make_base(name)
    found = head.Head(model, model.base_model_prefix)
    hidden = torch.randn(20, 64, requires_grad=True)
    asked = head.AskedTokens(
        temperature_U=torch.rand(20) + 0.5, target_U=torch.randint(259, (20,)), entropy_gradient=bool(entropy_bonus)
    )
    weights = torch.randn(20)

    gradients = []
    for score in (found.score, found.plain):
        logp, entropy = score(hidden, asked)
        ((logp - entropy_bonus * entropy) * weights).sum().backward()
        gradients.append(hidden.grad)
        hidden.grad = None

    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


FAMILIES = [Family(0, 5, (3, 1, 4)), Family(13, 7, ()), Family(20, 2, (2, 2))]


def test_attention_in_parts_is_attention_to_the_whole_with_its_gradient():
    torch.manual_seed(0)
    tokens = 26
    query, key, value = (torch.randn(1, tokens, heads, 16, dtype=torch.float64).transpose(1, 2) for heads in (6, 2, 2))
    upstream = torch.randn_like(query)
    rules = Rules(0.25)

    def attended(flash: bool) -> list[torch.Tensor]:
        given = [
            each.float().requires_grad_() if flash else each.clone().requires_grad_() for each in (query, key, value)
        ]
        if flash:
            out = Flash(FAMILIES, device=CPU).attend(*given, rules.scale)
        else:
            # A window that holds every row whole, and a soft cap beyond every score: the way for the others.
            out = PackedPass(FAMILIES, device=CPU).attend(0, *given, Rules(0.25, softcap=1e9))
        out.backward(upstream.to(out.dtype))
        return [out.detach(), *(each.grad for each in given)]

    for parts, whole in zip(attended(True), attended(False), strict=True):
        torch.testing.assert_close(parts.double(), whole, rtol=1e-5, atol=1e-5)
