"""What the two files of a LoRA adapter say, in PEFT's format, and whether all of it is understood here.

Only known-good fields and known-good tensors are accepted: an adapter that means more than A and B on linear layers
would be served and trained wrong without a word. Knows parsed headers; opens no file, and knows no tensor library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from art.errors import CorruptCheckpointError, LoRAShapeMismatchError
from art.format.json import shown_name

PREFIX = "base_model.model."
A_SUFFIX, B_SUFFIX = ".lora_A.weight", ".lora_B.weight"
DTYPES = ("F32", "F16", "BF16")
MAX_NAMED = 3
MAX_NUMBER = 1e12

# Fields that say who wrote the adapter, where or for what, and change no number.
_WITHOUT_NUMBERS = frozenset({
    "auto_mapping", "base_model_name_or_path", "inference_mode", "megatron_core", "peft_version", "revision",
    "runtime_config",
})  # fmt: skip
# What these say, the tensors say too: which layers have one, and that A and B lie as they always do.
_TOLD_BY_TENSORS = frozenset({"exclude_modules", "fan_in_fan_out", "layers_pattern", "target_modules"})
_READ = frozenset({"r", "lora_alpha", "lora_dropout", "use_rslora"})
# Fields that may have one of these values; any other means something that is not implemented.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "bias": ("none",),
    # These draw first values of A and B and leave the base's weights alone; others change them, or need more tensors.
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    "peft_type": ("LORA",),
    "qalora_group_size": (16,),
    "task_type": ("CAUSAL_LM", None),
}
_UNSET = (None, False, "", [], {}, ())
_TENSOR = re.compile(rf"{re.escape(PREFIX)}(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")


class Shaped(Protocol):
    """A tensor as a header describes it."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, order=True)
class LayerSize:
    """How many numbers go into a linear layer, and how many come out."""

    inputs: int
    outputs: int


@dataclass(frozen=True, kw_only=True)
class AdapterShape:
    """A LoRA adapter without its values: on every layer it adds scale * B (A x)."""

    where: str
    rank: int
    alpha: float
    """The scale times the rank, also where the file states rsLoRA's: alpha over the root of the rank."""
    dropout: float
    layers: Mapping[str, LayerSize]
    """The adapted layers by their names in the base model."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def targets(self) -> tuple[str, ...]:
        """The last parts of the layers' names."""
        return tuple(sorted({layer.rpartition(".")[2] for layer in self.layers}))

    def check_fits(self, base: Mapping[str, LayerSize]) -> None:
        """Check that the base model has these layers, in these sizes; raises `LoRAShapeMismatchError`."""
        if unknown := [layer for layer in self.layers if layer not in base]:
            raise LoRAShapeMismatchError(
                f"{self.where} adapts {named(unknown)}, and the base model has no linear layer of that name."
            )
        if other := [layer for layer, size in self.layers.items() if base[layer] != size]:
            layer = other[0]
            raise LoRAShapeMismatchError(
                f"{self.where} takes {shown_name(layer)} to have {_words(self.layers[layer])}, and in the base model "
                f"it has {_words(base[layer])}. It was trained on another model."
            )


def read_shape(config: Mapping[str, Any], tensors: Mapping[str, Shaped], *, where: str) -> AdapterShape:
    """Check an adapter's configuration against its tensors' names, types and shapes.

    `where` begins every message. Raises `LoRAShapeMismatchError` that names what is not implemented, and
    `CorruptCheckpointError` where the two files contradict each other.
    """
    rank, alpha, dropout = check_config(config, where=where)
    layers = _layers(tensors, where)
    sizes = {layer: _size(layer, halves, rank, where) for layer, halves in sorted(layers.items())}
    return AdapterShape(where=where, rank=rank, alpha=alpha, dropout=dropout, layers=sizes)


def check_config(config: Mapping[str, Any], *, where: str) -> tuple[int, float, float]:
    """Check an adapter's configuration alone; gives its rank, its scale times the rank, and its dropout.

    Raises what `read_shape` does.
    """
    special = sorted(name for name, value in config.items() if _means_more(name, value))
    if special:
        raise LoRAShapeMismatchError(
            f"{where} uses {named(special)}, which is not implemented here: its numbers would be wrong. Only plain "
            "LoRA on linear layers, with one rank and one scale, can be served and trained on."
        )
    return _numbers(config, where)


def tensor_names(layer: str) -> tuple[str, str]:
    """Name a layer's A and B as the file does."""
    return f"{PREFIX}{layer}{A_SUFFIX}", f"{PREFIX}{layer}{B_SUFFIX}"


def named(names: Iterable[str]) -> str:
    """Name some things as a terminal may show them, none at length, and count the rest."""
    all_names = list(names)
    rest = f" and {len(all_names) - MAX_NAMED:,} more" if len(all_names) > MAX_NAMED else ""
    return ", ".join(map(shown_name, all_names[:MAX_NAMED])) + rest


def _means_more(name: str, value: object) -> bool:
    if name in _NEUTRAL:
        return not any(type(value) is type(neutral) and value == neutral for neutral in _NEUTRAL[name])
    if name in _READ or name in _WITHOUT_NUMBERS or name in _TOLD_BY_TENSORS:
        return False
    return not any(type(value) is type(unset) and value == unset for unset in _UNSET)


def _numbers(config: Mapping[str, Any], where: str) -> tuple[int, float, float]:
    rank, stabilised = config.get("r"), config.get("use_rslora", False)
    stated, dropout = _number(config.get("lora_alpha")), _number(config.get("lora_dropout", 0.0))
    if type(rank) is not int or rank < 1 or stated is None or stated <= 0:
        raise CorruptCheckpointError(f"{where} states no rank and alpha of a LoRA adapter.")
    if dropout is None or not 0 <= dropout < 1 or not isinstance(stabilised, bool):
        raise CorruptCheckpointError(f"{where} states a lora_dropout or a use_rslora that cannot be.")
    return rank, stated * math.sqrt(rank) if stabilised else stated, dropout


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is converted: an integer may be beyond every float, and NaN is below nothing.
    return float(value) if abs(value) <= MAX_NUMBER else None


def _layers(tensors: Mapping[str, Shaped], where: str) -> dict[str, dict[str, Shaped]]:
    layers: dict[str, dict[str, Shaped]] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            unknown.append(name)
        else:
            layers.setdefault(match["layer"], {})[match["half"]] = tensor
    if unknown:
        raise LoRAShapeMismatchError(
            f"{where} holds {named(sorted(unknown))}, which is not implemented here: only A and B of linear layers are."
        )
    if not layers:
        raise CorruptCheckpointError(f"{where} adapts no layer.")
    return layers


def _size(layer: str, halves: Mapping[str, Shaped], rank: int, where: str) -> LayerSize:
    if len(halves) < 2:
        raise CorruptCheckpointError(f"{where} has only one of A and B for {shown_name(layer)}.")
    low_A, low_B = halves["A"], halves["B"]
    if other := {low_A.dtype, low_B.dtype} - set(DTYPES):
        raise LoRAShapeMismatchError(
            f"{where} holds {shown_name(layer)} in {other.pop()}; {', '.join(DTYPES)} can be read."
        )
    if len(low_A.shape) != 2 or len(low_B.shape) != 2:
        _refuse_rank(layer, halves, rank, where)
    if low_A.shape[0] != rank or low_B.shape[1] != rank:
        _refuse_rank(layer, halves, rank, where)
    return LayerSize(inputs=low_A.shape[1], outputs=low_B.shape[0])


def _refuse_rank(layer: str, halves: Mapping[str, Shaped], rank: int, where: str) -> NoReturn:
    shapes = " and ".join(f"{half} of shape {list(halves[half].shape)}" for half in "AB")
    raise LoRAShapeMismatchError(f"{where} states rank {rank:,}, but for {shown_name(layer)} it holds {shapes}.")


def _words(size: LayerSize) -> str:
    return f"{size.inputs:,} inputs and {size.outputs:,} outputs"
