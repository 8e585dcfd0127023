"""The one strict reader of adapters: what is plain is read, and everything else is refused by name."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from adapters import write_random_adapter
from art.adapter.adapted import AdaptedModel
from art.adapter.files import lora_config_of, read_adapter, read_adapter_shape
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig
from art.errors import ConfigurationError, CorruptCheckpointError, LoRAShapeMismatchError
from small import byte_tokenizer, small_causal_lm

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LAYER = "model.layers.0.self_attn.q_proj"
Q = f"base_model.model.{LAYER}"
NOT_IMPLEMENTED = {
    "use_dora": True,
    "lora_bias": True,
    "bias": "lora_only",
    "modules_to_save": ["embed_tokens"],
    "rank_pattern": {"q_proj": 2},
    "alpha_pattern": {"q_proj": 3},
    "layers_to_transform": [0],
    "layer_replication": [[0, 2], [1, 2]],
    "trainable_token_indices": [1, 2],
    "target_parameters": ["experts.gate_up_proj"],
    "loftq_config": {"loftq_bits": 4},
    "eva_config": {"rho": 2.0},
    "corda_config": {"corda_method": "kpm"},
    "lora_ga_config": {"direction": "ArB2r"},
    "alora_invocation_tokens": [5],
    "arrow_config": {"top_k": 2},
    "kasa_config": {"beta": 1e-4},
    "velora_config": {"num_groups": 2},
    "use_qalora": True,
    "use_bdlora": {"nblocks": 2},
    "megatron_config": {"tensor_model_parallel_size": 2},
    "ensure_weight_tying": True,
    "peft_type": "IA3",
    "task_type": "SEQ_CLS",
    "a_field_of_the_future": 1,
}
CHANGES_THE_BASE = ("pissa", "pissa_niter_16", "olora", "loftq", "eva", "corda", "lora_ga", "mica", "tomorrows")
OTHER_TENSORS = {
    "base_model.model.model.embed_tokens.lora_embedding_A": (4, 259),
    "base_model.model.model.embed_tokens.weight": (259, 64),
    f"{Q}.lora_magnitude_vector": (64,),
    f"{Q}.lora_B.bias": (64,),
    f"{Q}.lora_A.default.weight": (4, 64),
    "base_model.model.lm_head.base_layer.weight": (259, 64),
    "model.layers.0.self_attn.q_proj.lora_A.weight": (4, 64),
}


@pytest.fixture(scope="module")
def base() -> PreTrainedModel:
    return small_causal_lm(byte_tokenizer()).eval()


@pytest.fixture
def folder(base: PreTrainedModel, tmp_path: Path) -> Path:
    return write_random_adapter(tmp_path / "adapter", base)


def configure(folder: Path, **fields: Any) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def add_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({**load_file(folder / WEIGHTS), **tensors}, folder / WEIGHTS)


@pytest.mark.parametrize("field", NOT_IMPLEMENTED)
def test_a_field_that_means_more_than_is_implemented_is_refused_by_name(folder: Path, field: str) -> None:
    configure(folder, **{field: NOT_IMPLEMENTED[field]})

    with pytest.raises(LoRAShapeMismatchError, match=rf"uses {field},"):
        read_adapter_shape(folder)


@pytest.mark.parametrize("name", CHANGES_THE_BASE)
def test_first_values_that_need_another_base_are_refused(folder: Path, name: str) -> None:
    configure(folder, init_lora_weights=name)

    with pytest.raises(LoRAShapeMismatchError, match="init_lora_weights"):
        read_adapter_shape(folder)


@pytest.mark.parametrize("name", OTHER_TENSORS)
def test_a_tensor_that_is_not_understood_is_refused_by_name(folder: Path, name: str) -> None:
    add_tensors(folder, {name: torch.zeros(OTHER_TENSORS[name])})

    with pytest.raises(LoRAShapeMismatchError, match=name.replace(".", r"\.")):
        read_adapter_shape(folder)


def test_peft_writes_a_plain_adapter_that_is_read(base: PreTrainedModel, folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    fresh = tmp_path / "fields"
    LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj"], task_type="CAUSAL_LM").save_pretrained(fresh)
    configure(folder, **json.loads((fresh / CONFIG).read_text()))

    assert read_adapter_shape(folder).scale == 4.0


def test_a_rank_stabilised_adapter_is_a_scale(folder: Path) -> None:
    configure(folder, use_rslora=True)

    shape = read_adapter_shape(folder)

    assert shape.scale == pytest.approx(16 / math.sqrt(4))
    assert lora_config_of(shape).alpha / shape.rank == shape.scale


@pytest.mark.parametrize(
    "fields",
    [
        {"r": 0}, {"r": "4"}, {"r": True}, {"r": 4.0}, {"r": None}, {"lora_alpha": None}, {"lora_alpha": "16"},
        {"lora_alpha": 0}, {"lora_dropout": 1.0}, {"lora_dropout": "none"}, {"use_rslora": "yes"},
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(folder: Path, fields: dict[str, Any]) -> None:
    configure(folder, **fields)

    with pytest.raises(CorruptCheckpointError):
        read_adapter_shape(folder)


def test_a_rank_that_the_tensors_have_not_is_refused_before_memory_is_taken(
    base: PreTrainedModel, folder: Path
) -> None:
    configure(folder, r=3_000_000)
    adapted = AdaptedModel(base)
    tracemalloc.start()

    with pytest.raises(LoRAShapeMismatchError, match="rank 3,000,000"):
        read_adapter(folder, adapted.sizes, device=base.device)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_rank_beyond_every_layer_is_refused_before_memory_is_taken(base: PreTrainedModel) -> None:
    with pytest.raises(ConfigurationError, match="rank 60,000 does not fit"):
        TrainedAdapter(base, lora=LoRAConfig(rank=60_000), base_name="small")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        (f"{Q}.lora_A.weight", (4, 32), "64 inputs"),
        (f"{Q}.lora_B.weight", (32, 4), "64 outputs"),
        (f"{Q}.lora_A.weight", (8, 64), "rank 4"),
        (f"{Q}.lora_A.weight", (4, 64, 1), "rank 4"),
        ("base_model.model.model.layers.9.mlp.up_proj.lora_A.weight", (4, 64), "only one of A and B"),
    ],
)
def test_shapes_that_do_not_fit_the_base_are_refused(
    base: PreTrainedModel, folder: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    add_tensors(folder, {name: torch.zeros(shape)})

    with pytest.raises((LoRAShapeMismatchError, CorruptCheckpointError), match=said):
        read_adapter(folder, AdaptedModel(base).sizes, device=base.device)


def test_a_layer_that_the_base_has_not_is_named(base: PreTrainedModel, folder: Path) -> None:
    layer = "base_model.model.model.layers.9.mlp.up_proj"
    add_tensors(folder, {f"{layer}.lora_A.weight": torch.zeros(4, 64), f"{layer}.lora_B.weight": torch.zeros(128, 4)})

    with pytest.raises(LoRAShapeMismatchError, match=r"model\.layers\.9\.mlp\.up_proj"):
        read_adapter(folder, AdaptedModel(base).sizes, device=base.device)


def test_the_configuration_has_only_fields_that_old_releases_of_peft_know(folder: Path) -> None:
    # PEFT refuses a configuration with a field that it does not know; these are in 0.13.
    known = {
        "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha",
        "lora_dropout", "peft_type", "r", "target_modules", "task_type", "use_rslora",
    }  # fmt: skip

    assert json.loads((folder / CONFIG).read_text()).keys() == known
