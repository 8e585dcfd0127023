"""How far apart two adapters are, against the same formulas on whole matrices."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from art.adapter.distance import adapter_distance
from written_adapters import LAYERS, PREFIX, updates, write

CLOSE = 1e-6
"""Files hold float32, and the sums here are of float32 too."""


def norm(matrix: Tensor) -> float:
    return float(matrix.double().norm())


@pytest.mark.parametrize("ranks", [(3, 3), (2, 5), (5, 2)])
def test_norms_difference_and_cosine_are_those_of_the_whole_matrices(tmp_path: Path, ranks: tuple[int, int]):
    one, other = write(tmp_path / "a", 1, rank=ranks[0]), write(tmp_path / "b", 2, rank=ranks[1], alpha=5.0)
    ours, theirs = updates(one), updates(other)

    found = adapter_distance(one, other)

    for layer in LAYERS:
        first, second = ours[layer].double(), theirs[layer].double()
        distance = found.layers[layer]
        assert distance.first == pytest.approx(norm(first), rel=CLOSE)
        assert distance.second == pytest.approx(norm(second), rel=CLOSE)
        assert distance.difference == pytest.approx(norm(second - first), rel=CLOSE)
        assert distance.cosine == pytest.approx(float((first * second).sum()) / norm(first) / norm(second), abs=CLOSE)
    apart = [each.difference**2 for each in found.layers.values()]
    assert found.whole.difference == pytest.approx(math.sqrt(sum(apart)))


def test_a_tiny_step_keeps_its_digits(tmp_path: Path):
    one, other = write(tmp_path / "a", 1), write(tmp_path / "b", 1)
    path, tiny = other / "adapter_model.safetensors", 2**-20
    tensors = load_file(path)
    name = f"{PREFIX}model.layers.0.q_proj.lora_B.weight"
    before = tensors[name].double()
    tensors[name] = tensors[name] * (1 + tiny)
    save_file(tensors, path)
    moved = tensors[name].double() - before

    difference = adapter_distance(one, other).layers["model.layers.0.q_proj"].difference

    expected = norm(2.0 * moved @ tensors[name.replace("lora_B", "lora_A")].double())
    assert difference == pytest.approx(expected, rel=CLOSE)


def test_the_same_update_in_other_factors_is_no_distance(tmp_path: Path):
    one, other = write(tmp_path / "a", 1), write(tmp_path / "b", 1)
    path = other / "adapter_model.safetensors"
    turned = {name: tensor * (2.0 if "lora_A" in name else 0.5) for name, tensor in load_file(path).items()}
    save_file(turned, path)

    found = adapter_distance(one, other)

    assert found.whole.difference == 0.0
    assert found.whole.cosine == pytest.approx(1.0)


def test_a_layer_that_only_one_has_counts_as_not_updated_by_the_other(tmp_path: Path):
    only = {"model.layers.0.q_proj": LAYERS["model.layers.0.q_proj"]}
    one, other = write(tmp_path / "a", 1), write(tmp_path / "b", 1, layers=only)

    distance = adapter_distance(one, other).layers["model.layers.0.v_proj"]

    assert (distance.second, distance.cosine) == (0.0, None)
    assert distance.difference == distance.first > 0


def test_optimizers_are_compared_by_their_mean_of_the_gradient(tmp_path: Path):
    one, other = write(tmp_path / "a", 1), write(tmp_path / "b", 1)
    name = f"exp_avg.{PREFIX}model.layers.0.q_proj.lora_A.weight"
    save_file({name: torch.tensor([[3.0, 4.0]]), "step": torch.tensor(1.0)}, one / "optimizer.safetensors")
    without = adapter_distance(one, other).whole.moments
    save_file({name: torch.tensor([[0.0, 4.0]]), "step": torch.tensor(1.0)}, other / "optimizer.safetensors")

    found = adapter_distance(one, other)

    assert without is None
    assert found.layers["model.layers.0.q_proj"].moments == pytest.approx(3 / 5)
    assert found.layers["model.layers.0.v_proj"].moments is None


def test_the_threads_of_the_process_stay_as_many_as_they_were(tmp_path: Path):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 2)
    try:
        adapter_distance(write(tmp_path / "a", 1), write(tmp_path / "b", 2))

        assert torch.get_num_threads() == before + 2
    finally:
        torch.set_num_threads(before)
