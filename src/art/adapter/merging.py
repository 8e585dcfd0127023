"""Two adapters made one: their updates B A are combined layer by layer, and cut to the rank of the first.

A layer's matrices are in memory one layer at a time. Knows folders and tensors; not whose they are.
Axes: O output, I input, R rank, 2 the two updates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from art.adapter.files import lora_config_of, read_adapter_shape, write_adapter
from art.errors import CorruptCheckpointError, LoRAShapeMismatchError
from art.format.adapter import AdapterShape, named, tensor_names
from art.format.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from art.format.merge import Method

LARGEST_WHOLE_SVD = 2048
"""Beyond it the leading directions are found by random projections, with a fixed seed."""
MAX_WHOLE_ENTRIES = 2**30
"""Of an update whose entries are looked at one by one: 8 GiB."""
Factors = tuple[Tensor, Tensor]
"""Two matrices whose product is an update: O by some rank, and that rank by I."""
Singular = tuple[Tensor, Tensor, Tensor]
"""Left vectors, values and right vectors."""


def merge_adapters(first: Path, second: Path, target: Path, *, method: Method) -> float:
    """Write the merge of two adapters' folders into a third; gives the share of the merged update that the rank keeps.

    It has the rank, the scale and the dropout of the first. The share is of the squares of all entries. Raises
    `LoRAShapeMismatchError` for adapters on other layers, and `CorruptCheckpointError` for numbers that are not finite.
    """
    shapes = [read_adapter_shape(folder) for folder in (first, second)]
    _check_layers(*shapes)
    tensors: dict[str, Tensor] = {}
    kept = total = 0.0
    for layer, one, other in _layers([first, second], shapes):
        for factors, shape in zip((one, other), shapes, strict=True):
            _check_finite(factors, shape.where, layer)
        (low_A, low_B), squares = _cut(_combined(one, other, method), shapes[0])
        _check_finite((low_A, low_B), "The merge", layer)
        name_A, name_B = tensor_names(layer)
        tensors[name_A], tensors[name_B] = low_A, low_B
        kept, total = kept + squares[0], total + squares[1]
    config = json.loads((first / ADAPTER_CONFIG).read_bytes())
    write_adapter(
        target,
        tensors,
        lora_config_of(shapes[0]),
        base_name=str(config.get("base_model_name_or_path") or ""),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
    )
    return kept / total if total else 1.0


def _layers(folders: list[Path], shapes: list[AdapterShape]) -> Iterator[tuple[str, Factors, Factors]]:
    with ExitStack() as stack:
        try:
            files = [stack.enter_context(safe_open(folder / ADAPTER_WEIGHTS, framework="pt")) for folder in folders]
            for layer in shapes[0].layers:
                name_A, name_B = tensor_names(layer)
                one, other = (
                    (file.get_tensor(name_B).double() * shape.scale, file.get_tensor(name_A).double())
                    for file, shape in zip(files, shapes, strict=True)
                )
                yield layer, one, other
        except (OSError, SafetensorError) as error:
            raise CorruptCheckpointError(f"{folders[0]} or {folders[1]} cannot be read: {error}") from error


def _check_size(factors: Factors) -> None:
    entries = factors[0].shape[0] * factors[1].shape[1]
    if entries > MAX_WHOLE_ENTRIES:
        raise LoRAShapeMismatchError(
            f"Ties looks at every entry of an update, and a layer's has {entries:,}, of {MAX_WHOLE_ENTRIES:,} at most; "
            "merge with linear or slerp. Nothing was written."
        )


def _check_finite(factors: Factors, where: str, layer: str) -> None:
    if not all(bool(factor.isfinite().all()) for factor in factors):
        raise CorruptCheckpointError(f"{where} has numbers that are not finite, in {named([layer])}.")


def _combined(one: Factors, other: Factors, method: Method) -> Factors:
    if method.name == "ties":
        _check_size(one)
        update_OI = _ties(one[0] @ one[1], other[0] @ other[1], method)
        return update_OI, torch.eye(update_OI.shape[1], dtype=update_OI.dtype)
    left, right = _slerp(one, other, method.weight) if method.name == "slerp" else (1 - method.weight, method.weight)
    return torch.cat([one[0] * left, other[0] * right], dim=1), torch.cat([one[1], other[1]])


def _slerp(one: Factors, other: Factors, weight: float) -> tuple[float, float]:
    """Give the shares of two updates on the arc between their directions (Shoemake, SIGGRAPH 1985)."""
    lengths = [math.sqrt(max(_inner(each, each), 0.0)) for each in (one, other)]
    if not all(lengths):
        return 1 - weight, weight
    angle = math.acos(max(-1.0, min(1.0, _inner(one, other) / (lengths[0] * lengths[1]))))
    sine = math.sin(angle)
    if sine < 1e-6:
        return 1 - weight, weight
    return math.sin((1 - weight) * angle) / sine, math.sin(weight * angle) / sine


def _inner(one: Factors, other: Factors) -> float:
    """Give the inner product of two updates without making either: tr((B' D)(C A'))."""
    return float(((one[0].T @ other[0]) * (one[1] @ other[1].T)).sum())


def _ties(one_OI: Tensor, other_OI: Tensor, method: Method) -> Tensor:
    """Keep each update's largest entries, elect a sign for each place, and average what agrees with it.

    Yadav and others, TIES-Merging, arXiv 2306.01708; here layer by layer.
    """
    weights_2 = torch.tensor([1 - method.weight, method.weight], dtype=one_OI.dtype)[:, None, None]
    trimmed_2OI = torch.stack([_trimmed(update_OI, method.density) for update_OI in (one_OI, other_OI)])
    sign_OI = (weights_2 * trimmed_2OI).sum(dim=0).sign()
    shares_2OI = weights_2 * (trimmed_2OI.sign() == sign_OI)
    added_OI, shares_OI = (shares_2OI * trimmed_2OI).sum(dim=0), shares_2OI.sum(dim=0)
    return torch.where(shares_OI > 0, added_OI / shares_OI.clamp_min(1e-12), torch.zeros_like(added_OI))


def _trimmed(update_OI: Tensor, density: float) -> Tensor:
    count = max(1, round(density * update_OI.numel()))
    if count >= update_OI.numel():
        return update_OI
    least = update_OI.abs().flatten().kthvalue(update_OI.numel() - count + 1).values
    return torch.where(update_OI.abs() >= least, update_OI, torch.zeros_like(update_OI))


def _cut(factors: Factors, shape: AdapterShape) -> tuple[Factors, tuple[float, float]]:
    """Give A and B of the rank that come closest to an update, and the squares that they and the update have."""
    left_OR, values_R, right_RI = _decomposed(factors, shape.rank)
    total = _inner(factors, factors)
    root_R = (values_R / shape.scale).sqrt()
    low_A = torch.zeros(shape.rank, right_RI.shape[1], dtype=torch.float32)
    low_B = torch.zeros(left_OR.shape[0], shape.rank, dtype=torch.float32)
    low_A[: len(values_R)] = root_R[:, None] * right_RI
    low_B[:, : len(values_R)] = left_OR * root_R
    return (low_A, low_B), (float((values_R**2).sum()), total)


def _decomposed(factors: Factors, rank: int) -> Singular:
    """Give the leading singular vectors and values of a product; where its factors are narrow, through them."""
    wide_OR, wide_RI = factors
    if wide_OR.shape[1] < min(wide_OR.shape[0], wide_RI.shape[1]):
        (frame_OR, rest_O), (frame_IR, rest_I) = torch.linalg.qr(wide_OR), torch.linalg.qr(wide_RI.T)
        left, values, right = torch.linalg.svd(rest_O @ rest_I.T)
        left_OR, right_RI = frame_OR @ left, right @ frame_IR.T
    elif min(wide_OR.shape[0], wide_RI.shape[1]) <= LARGEST_WHOLE_SVD:
        left_OR, values, right_RI = torch.linalg.svd(wide_OR @ wide_RI, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left_OR, values, right_IR = torch.svd_lowrank(wide_OR @ wide_RI, q=rank + 16, niter=8)
        right_RI = right_IR.T
    return left_OR[:, :rank], values[:rank], right_RI[:rank]


def _check_layers(first: AdapterShape, second: AdapterShape) -> None:
    differing = [
        layer
        for layer in sorted(first.layers.keys() | second.layers.keys())
        if first.layers.get(layer) != second.layers.get(layer)
    ]
    if differing:
        raise LoRAShapeMismatchError(
            f"{second.where} and {first.where} adapt different layers, such as {named(differing)}; only adapters "
            "on the same layers can be merged. Nothing was written."
        )
