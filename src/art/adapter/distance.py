"""How far apart two adapters are, layer by layer: of the updates s·B·A, never of the factors, which a rotation changes.

No matrix of a layer's size is formed: of products of low rank the inner product is a sum over R x R. Axes: I input,
O output, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from art.adapter.files import low_ranks_of, read_adapter_shape, read_file, read_tensors
from art.adapter.product import LowRank
from art.format.adapter import A_SUFFIX, B_SUFFIX, PREFIX
from art.format.layout import OPTIMIZER

CPU = torch.device("cpu")
MEAN = "exp_avg"


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Two updates of the same weights: their sizes as Frobenius norms, how far apart they are, and their angle."""

    first: float
    second: float
    difference: float
    cosine: float | None
    """None where one of them is zero."""
    moments: float | None = None
    """How far the optimizer's means of the gradient are apart, as a share of the larger; None where one is missing."""


@dataclass(frozen=True, kw_only=True)
class AdapterDistance:
    """Two adapters: over all layers, and each of them."""

    whole: Distance
    layers: Mapping[str, Distance]


@dataclass(frozen=True, kw_only=True)
class _Squares:
    """Two squared norms, the inner product, and the squared norm of the difference."""

    first: float
    second: float
    inner: float
    difference: float

    def __add__(self, other: _Squares) -> _Squares:
        return _Squares(
            first=self.first + other.first,
            second=self.second + other.second,
            inner=self.inner + other.inner,
            difference=self.difference + other.difference,
        )

    def distance(self, moments: float | None) -> Distance:
        first, second = math.sqrt(self.first), math.sqrt(self.second)
        cosine = max(-1.0, min(1.0, self.inner / (first * second))) if first and second else None
        return Distance(
            first=first, second=second, difference=math.sqrt(max(0.0, self.difference)), cosine=cosine, moments=moments
        )


NOTHING = _Squares(first=0.0, second=0.0, inner=0.0, difference=0.0)


def adapter_distance(first: Path, second: Path) -> AdapterDistance:
    """Compare two adapters' folders, with the optimizers' files where both have one; raises as reading them does.

    A layer that one of them lacks counts as not updated there.
    """
    ours, theirs = (
        low_ranks_of(read_tensors(folder), read_adapter_shape(folder), device=CPU) for folder in (first, second)
    )
    squares = {layer: _squares(ours.get(layer), theirs.get(layer)) for layer in sorted({*ours, *theirs})}
    moments = _moments(first, second)
    return AdapterDistance(
        whole=sum(squares.values(), NOTHING).distance(_apart(list(moments.values()))),
        layers={
            layer: each.distance(_apart([moments[layer]] if layer in moments else []))
            for layer, each in squares.items()
        },
    )


def _squares(one: LowRank | None, other: LowRank | None) -> _Squares:
    if one is None or other is None:
        present = one or other
        size = _inner(*_halves(present), *_halves(present)) if present else 0.0
        return _Squares(first=size if one else 0.0, second=size if other else 0.0, inner=0.0, difference=size)
    (A_RI, B_OR), (C_RI, D_OR) = _same_rank(_halves(one), _halves(other))
    # D C - B A as D (C - A) + (D - B) A: two updates that nearly agree lose no digits to their difference.
    turned, moved = (C_RI - A_RI, D_OR), (A_RI, D_OR - B_OR)
    difference = _inner(*turned, *turned) + _inner(*moved, *moved) + 2 * _inner(*turned, *moved)
    return _Squares(
        first=_inner(A_RI, B_OR, A_RI, B_OR),
        second=_inner(C_RI, D_OR, C_RI, D_OR),
        inner=_inner(A_RI, B_OR, C_RI, D_OR),
        difference=difference,
    )


def _inner(A_RI: Tensor, B_OR: Tensor, C_RI: Tensor, D_OR: Tensor) -> float:
    """Give the inner product of B A and D C: the sum over R x R of (B' D) times (A C')."""
    return float(((B_OR.T @ D_OR) * (A_RI @ C_RI.T)).sum())


def _halves(part: LowRank) -> tuple[Tensor, Tensor]:
    return part.A_RI.double(), part.B_OR.double() * part.scale


def _same_rank(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    rank = max(one[0].shape[0], other[0].shape[0])
    return _padded(*one, rank), _padded(*other, rank)


def _padded(A_RI: Tensor, B_OR: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    more = rank - A_RI.shape[0]
    pad = torch.nn.functional.pad
    return pad(A_RI, (0, 0, 0, more)), pad(B_OR, (0, more))


def _moments(first: Path, second: Path) -> dict[str, tuple[float, float, float]]:
    """Give for each layer the squared norms of both means of the gradient, and of their difference."""
    if not all((folder / OPTIMIZER).is_file() for folder in (first, second)):
        return {}
    ours, theirs = (read_file(folder / OPTIMIZER) for folder in (first, second))
    moments: dict[str, tuple[float, float, float]] = {}
    for name, tensor in ours.items():
        layer, other = _layer_of(name), theirs.get(name)
        if layer is None or other is None or other.shape != tensor.shape:
            continue
        one, two = tensor.double(), other.double()
        sizes = (float(one.square().sum()), float(two.square().sum()), float((two - one).square().sum()))
        before = moments.get(layer, (0.0, 0.0, 0.0))
        moments[layer] = (before[0] + sizes[0], before[1] + sizes[1], before[2] + sizes[2])
    return moments


def _layer_of(name: str) -> str | None:
    named = name.removeprefix(f"{MEAN}.{PREFIX}")
    if named == name:
        return None
    return next((named.removesuffix(end) for end in (A_SUFFIX, B_SUFFIX) if named.endswith(end)), None)


def _apart(moments: list[tuple[float, float, float]]) -> float | None:
    if not moments:
        return None
    one, other, difference = (math.sqrt(sum(each[place] for each in moments)) for place in range(3))
    return difference / max(one, other) if one or other else 0.0
