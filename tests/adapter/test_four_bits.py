"""A base in 4 bits: held once, trained and sampled from alike, continued exactly, refused where it would be wrong."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import art
from adapters import write_random_adapter
from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.adapter.four_bits import quantisation_of
from art.adapter.loading import load_base
from art.adapter.merged import write_merged
from art.errors import ConfigurationError
from art.footprint import dimensions_of
from art.local import LocalBackend
from art.local.agreement import check_agreement
from art.local.bases import Bases
from art.local.continuation import take
from art.ops.continuation import verify_continuation
from art.sample.base import LoadedBase
from art.sample.vllm.factory import VLLM

CPU = torch.device("cpu")
IN_4BIT = art.dev.InternalModelConfig(init_args=art.dev.InitArgs(load_in_4bit=True))
RATE = art.TrainConfig(learning_rate=1e-3)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def base(request: pytest.FixtureRequest, small_model: Path) -> Any:
    return load_base(str(small_model), device=CPU, dtype=request.param, in_4bit=True)[0]


def test_it_computes_in_our_passes_what_it_computes_by_itself(base: Any) -> None:
    assert quantisation_of(base) == "nf4"

    check_agreement(base)


def test_trainers_and_samplers_share_what_is_beside_the_numbers_too(base: Any, tmp_path: Path) -> None:
    folder = write_random_adapter(tmp_path / "adapter", base)

    models = [AdaptedModel(base) for _ in range(3)]
    for adapted in models:
        adapted.set(read_adapter(folder, adapted.sizes, device=CPU))
        adapted.model(input_ids=torch.tensor([[5, 9, 33]]))

    weights = [dict(model.named_parameters()) for model in (base, *(each.model for each in models))]
    for name, weight in weights[0].items():
        assert {each[name].data_ptr() for each in weights} == {weight.data_ptr()}
        states = {id(getattr(each[name], "quant_state", None)) for each in weights}
        assert len(states) == 1


def test_sampling_turns_no_weight_over(base: Any) -> None:
    """On some processors bitsandbytes packs weights for sampling, in place: the gradient would be gone."""
    before = {name: parameter.detach().clone() for name, parameter in base.named_parameters()}

    with torch.inference_mode():
        base(input_ids=torch.tensor([[5, 9, 33]]))

    assert all(torch.equal(parameter, before[name]) for name, parameter in base.named_parameters())
    assert not any(getattr(module, "support_avx512bf16_for_cpu", False) for module in base.modules())


def test_a_plan_counts_its_bytes(base: Any) -> None:
    states = [parameter.quant_state for parameter in base.parameters() if hasattr(parameter, "quant_state")]
    scales = [scale for state in states for scale in (state.absmax, state.state2.absmax)]
    counted = sum(each.nbytes for each in (*base.parameters(), *scales))
    dtype = str(base.dtype).removeprefix("torch.")

    dimensions = dimensions_of(base.config.to_dict(), dtype)  # pyright: ignore[reportArgumentType] - one of these

    assert dimensions is not None
    assert dimensions.in_4bit
    assert dimensions.base_bytes == pytest.approx(counted, rel=0.01)


async def rollout(model: Any, reward: float) -> art.Trajectory:
    asked = [{"role": "user", "content": "hello"}]
    answer = await model.openai_client().chat.completions.create(model=model.name, messages=asked, max_tokens=8)
    return art.Trajectory(messages_and_choices=[*asked, answer.choices[0]], reward=reward)


def test_a_run_continues_bit_for_bit_and_its_manifest_says_in_what(small_model: Path, tmp_path: Path) -> None:
    model: Any = art.TrainableModel(name="agent", project="four", base_model=str(small_model), _internal_config=IN_4BIT)

    async def run() -> list[dict[str, float]]:
        async with LocalBackend(path=tmp_path, dtype="bfloat16") as backend:
            await model.register(backend)
            found = []
            for _ in range(2):
                groups = [art.TrajectoryGroup([await rollout(model, reward) for reward in (0.0, 1.0)])]
                found.append((await model.train(groups, RATE)).metrics)
            return found

    metrics = asyncio.run(run())
    verdict = verify_continuation(tmp_path, art.CheckpointRef.parse("four/agent@2"), take_leg=take)

    manifest = json.loads(next(tmp_path.glob("four/models/agent/checkpoints/0002/checkpoint.json")).read_text())
    assert manifest["environment"]["quantisation"] == "nf4"
    assert all(each["ratio"] == pytest.approx(1, abs=0.05) for each in metrics)
    assert verdict.continues


def test_what_would_be_other_numbers_is_refused(base: Any, small_model: Path) -> None:
    with pytest.raises(ConfigurationError, match="one process"):
        Bases(device="cpu", dtype="float32", ranks=2).open(str(small_model), in_4bit=True)
    with pytest.raises(ConfigurationError, match="sample from other numbers"):
        VLLM()(LoadedBase(id="small", module=base, tokenizer=None))  # pyright: ignore[reportArgumentType]


def test_without_bitsandbytes_the_extra_is_named(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bitsandbytes" else found(name))

    with pytest.raises(ConfigurationError, match=r"artfork\[4bit\]"):
        load_base(str(small_model), device=CPU, dtype=torch.float32, in_4bit=True)


@pytest.mark.parametrize("method", ["fp8", "gptq", "awq", "mxfp4", "compressed-tensors", "bitsandbytes"])
def test_weights_saved_in_another_form_are_refused_by_its_name(small_model: Path, tmp_path: Path, method: str) -> None:
    folder = shutil.copytree(small_model, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    said = {"quant_method": method, "load_in_8bit": method == "bitsandbytes"}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": said}))

    with pytest.raises(ConfigurationError, match=f"saved in {method}"):
        load_base(str(folder), device=CPU, dtype=torch.float32)


def test_weights_saved_in_4_bits_are_read_as_such_and_merged_into_by_nobody(base: Any, tmp_path: Path) -> None:
    from small import byte_tokenizer

    base.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")

    module, _ = load_base(str(tmp_path / "base"), device=CPU, dtype=base.dtype)

    assert quantisation_of(module) == "nf4"
    ids = torch.tensor([[5, 9, 33]])
    assert torch.equal(module(input_ids=ids).logits, base(input_ids=ids).logits)
    with pytest.raises(ConfigurationError, match="cannot be merged into"):
        write_merged(str(tmp_path / "base"), tmp_path / "adapter", tmp_path / "whole")
