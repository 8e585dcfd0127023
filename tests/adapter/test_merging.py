"""The merge of two adapters against the same formulas on whole matrices."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from art.adapter.merging import merge_adapters
from art.errors import LoRAShapeMismatchError
from art.format.merge import Method
from written_adapters import LAYERS, updates, write

CLOSE = 1e-5
"""Files hold float32."""


def closest(update: Tensor, rank: int) -> tuple[Tensor, float]:
    left, values, right = torch.linalg.svd(update, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank], float((values[:rank] ** 2).sum())


def slerped(one: Tensor, other: Tensor, weight: float) -> Tensor:
    angle = math.acos(float((one * other).sum() / (one.norm() * other.norm())))
    return (math.sin((1 - weight) * angle) * one + math.sin(weight * angle) * other) / math.sin(angle)


def ties(one: Tensor, other: Tensor, weight: float, density: float) -> Tensor:
    """Entry by entry, as the paper tells it."""
    kept: list[list[float]] = []
    for update in (one, other):
        entries = update.flatten().tolist()
        least = sorted(map(abs, entries), reverse=True)[max(1, round(density * len(entries))) - 1]
        kept.append([entry if abs(entry) >= least else 0.0 for entry in entries])
    shares, merged = (1 - weight, weight), []
    for pair in zip(*kept, strict=True):
        elected = sum(share * entry for share, entry in zip(shares, pair, strict=True))
        agreeing = [(share, entry) for share, entry in zip(shares, pair, strict=True) if entry * elected > 0]
        total = sum(share for share, _ in agreeing)
        merged.append(sum(share * entry for share, entry in agreeing) / total if total else 0.0)
    return torch.tensor(merged, dtype=torch.float64).reshape(one.shape)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["linear", "slerp", "ties"])
def test_each_layer_is_the_closest_of_its_rank_to_the_formula(tmp_path: Path, name: str, weight: float):
    first, second = write(tmp_path / "a", 1), write(tmp_path / "b", 2, rank=4, alpha=2.0)
    (target := tmp_path / "c").mkdir()
    formulas = {
        "linear": lambda one, other: (1 - weight) * one + weight * other,
        "slerp": lambda one, other: slerped(one, other, weight),
        "ties": lambda one, other: ties(one, other, weight, 0.25),
    }

    kept = merge_adapters(first, second, target, method=Method(name=name, weight=weight, density=0.25))

    ours, theirs, merged = updates(first), updates(second), updates(target)
    whole = {layer: formulas[name](ours[layer], theirs[layer]) for layer in LAYERS}
    for layer in LAYERS:
        torch.testing.assert_close(merged[layer], closest(whole[layer], 3)[0], atol=CLOSE, rtol=CLOSE)
    total = sum(float((each**2).sum()) for each in whole.values())
    assert kept == pytest.approx(sum(closest(each, 3)[1] for each in whole.values()) / total, abs=1e-6)


def test_the_same_twice_and_an_adapter_of_zeros_are_merged_too(tmp_path: Path):
    first = write(tmp_path / "a", 1)
    for name in ("linear", "slerp", "ties"):
        (target := tmp_path / name).mkdir()

        kept = merge_adapters(first, first, target, method=Method(name=name, density=1.0))

        assert kept == pytest.approx(1.0)
        for layer, update in updates(first).items():
            torch.testing.assert_close(updates(target)[layer], update, atol=CLOSE, rtol=CLOSE)


def test_adapters_on_other_layers_are_refused(tmp_path: Path):
    first = write(tmp_path / "a", 1)
    second = write(tmp_path / "b", 2, layers={**LAYERS, "model.layers.0.v_proj": (8, 12)})

    with pytest.raises(LoRAShapeMismatchError, match=r"different layers, such as model\.layers\.0\.v_proj"):
        merge_adapters(first, second, tmp_path, method=Method())
