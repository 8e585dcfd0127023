"""The LoRA adapter of a trainer: wrapped around a shared base model, written and read in PEFT's format, merged.

Knows PEFT and its two files; knows no optimizer. Parameters go by the names they have in the file, sorted.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from art.config import ALL_LINEAR, LoRAConfig
from art.errors import ConfigurationError, CorruptCheckpointError, LoRAShapeMismatchError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
NAME = "default"
FILE_PREFIX = "base_model.model."
A_SUFFIX, B_SUFFIX = ".lora_A.weight", ".lora_B.weight"
ADAPTER_DTYPE = torch.float32
# What PEFT can put into an adapter and we do not train: present and set, it makes an adapter of another shape.
UNKNOWN_SHAPES = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as it lies in a folder; tensors on the CPU, by name."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def scale(self) -> float:
        return float(self.config["lora_alpha"]) / int(self.config["r"])

    @property
    def layers(self) -> list[str]:
        """The names of the adapted layers in the base model."""
        return sorted(
            name.removeprefix(FILE_PREFIX).removesuffix(A_SUFFIX) for name in self.tensors if name.endswith(A_SUFFIX)
        )


class Adapter:
    """A module tree of its own over the base model's tensors, with low-rank layers in float32 beside them."""

    def __init__(self, base: PreTrainedModel, *, lora: LoRAConfig, base_name: str) -> None:
        self.lora = lora
        devices = [base.device] if base.device.type == "cuda" else []
        # PEFT draws first values from the global generator; they are replaced, and the generator put back.
        with torch.random.fork_rng(devices=devices):
            tuner = _wrap(_sharing_copy(base), lora)
        self.model = cast(PreTrainedModel, tuner.model)
        """The causal language model, its layers adapted."""
        self._config = cast(LoraConfig, tuner.peft_config[NAME])
        self._config.base_model_name_or_path = base_name
        parameters = {_file_name(name): value for name, value in self.model.named_parameters() if value.requires_grad}
        self.parameters: dict[str, nn.Parameter] = dict(sorted(parameters.items()))
        for parameter in self.parameters.values():
            parameter.data = parameter.data.to(ADAPTER_DTYPE)
        self.model.eval()

    def start(self, seed: int) -> None:
        """Set a fresh adapter that changes nothing yet: A as PEFT draws it, from `seed` alone, and B zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.parameters.items():
            fresh = torch.zeros(parameter.shape, dtype=ADAPTER_DTYPE)
            if name.endswith(A_SUFFIX):
                nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(fresh)

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the adapter to these values, checked before."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[name])

    @contextmanager
    def dropping_out(self) -> Generator[None]:
        """Let the adapter's dropout work; the base model's own never does."""
        dropouts = [module for name, module in self.model.named_modules() if name.endswith(f"lora_dropout.{NAME}")]
        for module in dropouts:
            module.train()
        try:
            yield
        finally:
            for module in dropouts:
                module.eval()

    @contextmanager
    def replaced(self, tensors: Mapping[str, Tensor]) -> Generator[None]:
        """Put other values in the adapter's place for a while; without gradient."""
        own = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.data = tensors[name]
            with torch.no_grad():
                yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = own[name]

    def switched_off(self) -> dict[str, Tensor]:
        """Give values under which the adapter adds exactly nothing."""
        return {name: torch.zeros_like(parameter.data) for name, parameter in self.parameters.items()}

    def checked(self, file: AdapterFile) -> dict[str, Tensor]:
        """Give a file's tensors as this adapter's; raises `LoRAShapeMismatchError`."""
        expected = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        found = {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}
        if found != expected or file.scale != self.lora.alpha / self.lora.rank:
            raise LoRAShapeMismatchError(_difference(file, self.lora, expected=expected, found=found))
        device = next(iter(self.parameters.values())).device
        return {name: file.tensors[name].to(device, ADAPTER_DTYPE) for name in self.parameters}

    def save(self, folder: Path) -> None:
        """Write the two files that PEFT opens."""
        values = {
            key: sorted(value) if isinstance(value, set) else value for key, value in self._config.to_dict().items()
        }
        values["inference_mode"] = True
        (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")
        tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in self.parameters.items()}
        save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    def merged_weights(self) -> dict[str, Tensor]:
        """Give the adapted layers' weights as plain ones, by their names in the base model."""
        tensors = {name: parameter.detach() for name, parameter in self.parameters.items()}
        layers = [name.removeprefix(FILE_PREFIX).removesuffix(A_SUFFIX) for name in tensors if name.endswith(A_SUFFIX)]
        return {
            f"{layer}.weight": _merged(
                cast(nn.Module, self.model.get_submodule(layer).base_layer),
                tensors[f"{FILE_PREFIX}{layer}{A_SUFFIX}"],
                tensors[f"{FILE_PREFIX}{layer}{B_SUFFIX}"],
                self.lora.alpha / self.lora.rank,
            )
            for layer in layers
        }


def merged_weights_of(folder: Path, base: PreTrainedModel) -> dict[str, Tensor]:
    """Merge the adapter in a folder into the base model's weights without a trainer; named as in the base model."""
    file = read_adapter(folder)
    modules = dict(base.named_modules())
    merged: dict[str, Tensor] = {}
    for layer in file.layers:
        low_A = file.tensors[f"{FILE_PREFIX}{layer}{A_SUFFIX}"]
        low_B = file.tensors.get(f"{FILE_PREFIX}{layer}{B_SUFFIX}")
        module = modules.get(layer)
        if module is None or low_B is None or _delta_shape(module, low_A, low_B) != module.weight.shape:
            raise LoRAShapeMismatchError(
                f"The adapter in {folder} adapts {layer}, which the base model has not, or not so."
            )
        merged[f"{layer}.weight"] = _merged(module, low_A.to(base.device), low_B.to(base.device), file.scale)
    return merged


def read_adapter(folder: Path) -> AdapterFile:
    """Read an adapter that we, PEFT or ART wrote; raises `CorruptCheckpointError`, `LoRAShapeMismatchError`."""
    config = read_json(folder / CONFIG_FILE)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise CorruptCheckpointError(f"{folder / WEIGHTS_FILE} cannot be read: {error}") from error
    if not isinstance(config.get("r"), int) or not isinstance(config.get("lora_alpha"), int | float) or config["r"] < 1:
        raise CorruptCheckpointError(f"{folder / CONFIG_FILE} states no rank and alpha of a LoRA adapter.")
    special = [key for key in UNKNOWN_SHAPES if config.get(key)]
    if config.get("bias", "none") != "none":
        special.append("bias")
    if special:
        raise LoRAShapeMismatchError(
            f"The adapter in {folder} uses {', '.join(special)}; only plain LoRA layers of one rank can be trained on."
        )
    return AdapterFile(folder, config, tensors)


def read_lora_config(folder: Path) -> LoRAConfig:
    """Give the shape that a trainer needs to load the adapter in a folder."""
    file = read_adapter(folder)
    targets = {layer.rpartition(".")[2] for layer in file.layers}
    return LoRAConfig(
        rank=file.config["r"],
        alpha=file.config["lora_alpha"],
        targets=tuple(sorted(targets)),
        dropout=file.config.get("lora_dropout") or 0.0,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint; raises `CorruptCheckpointError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptCheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CorruptCheckpointError(f"{path} holds no JSON object.")
    return cast("dict[str, Any]", value)


def _sharing_copy(base: PreTrainedModel) -> PreTrainedModel:
    """Copy the module tree but not its tensors; the copy's parameters are frozen, the base's flags stay as they are."""
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False) for parameter in base.parameters()
    }
    return copy.deepcopy(base, memo)


def _wrap(model: PreTrainedModel, lora: LoRAConfig) -> LoraModel:
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=cast(int, int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=_linear_layers(model) if lora.targets == ALL_LINEAR else list(lora.targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
    try:
        tuner = LoraModel(model, config, NAME)
    except ValueError as error:
        raise ConfigurationError(
            f"No LoRA adapter with targets {lora.targets} fits this base model: {error}"
        ) from error
    _check_layers(model)
    return tuner


def _check_layers(model: PreTrainedModel) -> None:
    """Refuse layers that are not one matrix, such as experts that PEFT finds under the names of linear layers."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and not isinstance(module.get_base_layer(), nn.Linear | Conv1D):
            raise ConfigurationError(
                f"{name} is a {type(module.get_base_layer()).__name__}, and only linear layers can be adapted. "
                "Name others in LoRAConfig(targets=...), such as q_proj, k_proj, v_proj and o_proj."
            )


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """Give the last names of all linear layers but the output layer; PEFT's own list has fused experts, too."""
    output = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and module is not output
        }
    )


def _file_name(parameter_name: str) -> str:
    return FILE_PREFIX + parameter_name.replace(f".{NAME}.", ".")


def _merged(layer: nn.Module, low_A: Tensor, low_B: Tensor, scale: float) -> Tensor:
    weight = cast(Tensor, layer.weight).detach()
    delta = (low_B.float() @ low_A.float()) * scale
    return (weight.float() + (delta.T if isinstance(layer, Conv1D) else delta)).to(weight.dtype)


def _delta_shape(layer: nn.Module, low_A: Tensor, low_B: Tensor) -> tuple[int, ...]:
    shape = (low_B.shape[0], low_A.shape[1])
    return shape[::-1] if isinstance(layer, Conv1D) else shape


def _difference(
    file: AdapterFile,
    lora: LoRAConfig,
    *,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> str:
    head = (
        f"The adapter in {file.folder} has another shape than this trainer's: "
        f"rank {file.config['r']}, alpha {file.config['lora_alpha']} against rank {lora.rank}, alpha {lora.alpha:g}"
    )
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    details = [
        f"{len(names)} layers {what}, such as {names[0]}"
        for what, names in (("missing", missing), ("that are not trained here", surplus), ("of another size", other))
        if names
    ]
    return "; ".join([head, *details]) + ". Give the model the LoRAConfig that the adapter was trained with."
