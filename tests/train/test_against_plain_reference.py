"""Loss and gradient are those of the formula, however prompts are shared and batches cut."""

from __future__ import annotations

import pytest
import torch
from plain import open_with_peft, plain_loss
from safetensors.torch import load_file
from worlds import FAMILIES, make_base, random_groups

from art.config import LoRAConfig, TrainConfig
from art.train.trainer import Trainer

# Both compute in float32, in another order; gradients are sums over some sixty tokens.
RELATIVE, ABSOLUTE = 2e-4, 2e-6
UNCLIPPED = 1e9

SETTINGS = {
    "ppo": {},
    "cispo": {"loss": "cispo"},
    "asymmetric": {"epsilon": 0.1, "epsilon_high": 0.9},
    "unscaled": {"scale_rewards": False},
    "with-kl": {"beta": 0.3},
    "tiny-micro-batches": {"micro_batch_tokens": 40, "beta": 0.3},
    "one-row-each": {"micro_batch_tokens": 1},
}


def loss_and_gradient(trainer: Trainer, groups, config: TrainConfig, folder):
    """Take a step with fresh moments; its first moment is then the gradient, less AdamW's decay."""
    metrics = trainer.step(groups, config.model_copy(update={"max_grad_norm": UNCLIPPED}))
    trainer.save(folder)
    moments = load_file(folder / "optimizer.safetensors")
    prefix = "exp_avg."
    return metrics["loss"], {
        name.removeprefix(prefix): moment / (1 - config.betas[0])
        for name, moment in moments.items()
        if name.startswith(prefix)
    }


def plain_loss_and_gradient(folder, base, groups, config: TrainConfig):
    model = open_with_peft(folder, base)
    loss = plain_loss(model, groups, config)
    loss.backward()
    gradients = {
        name.replace(".default.", "."): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return loss.item(), gradients


@pytest.fixture
def started(tmp_path, tokenizer):
    """Give a trainer whose adapter has moved away from its start, and the folder it was saved in."""

    def start(family: str) -> tuple[Trainer, object]:
        trainer = Trainer(make_base(family), tokenizer, lora=LoRAConfig(rank=4), seed=3)
        for seed in (100, 101):
            trainer.step(random_groups(seed=seed), TrainConfig(learning_rate=1e-2))
        folder = tmp_path / "start"
        folder.mkdir()
        trainer.save(folder)
        trainer.load(folder, reset=frozenset({"optimizer"}))
        return trainer, folder

    return start


def assert_same(found, expected):
    loss, gradients = found
    plain, plain_gradients = expected
    assert loss == pytest.approx(plain, rel=RELATIVE, abs=ABSOLUTE)
    assert gradients.keys() == plain_gradients.keys()
    largest = max(gradient.abs().max() for gradient in plain_gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient,
            plain_gradients[name],
            rtol=RELATIVE,
            atol=float(largest) * RELATIVE,
            msg=lambda text, n=name: n + text,
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_plain_loss_and_gradient(family, started, tmp_path):
    trainer, folder = started(family)
    groups = random_groups(seed=5, temperature=0.7)
    config = TrainConfig(beta=0.2)

    found = loss_and_gradient(trainer, groups, config, tmp_path)

    assert_same(found, plain_loss_and_gradient(folder, make_base(family), groups, config))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_loss_has_the_plain_value_and_gradient(setting, started, tmp_path):
    trainer, folder = started("qwen3")
    groups = random_groups(seed=6, groups=4)
    config = TrainConfig(**SETTINGS[setting])

    found = loss_and_gradient(trainer, groups, config, tmp_path)

    assert_same(found, plain_loss_and_gradient(folder, make_base("qwen3"), groups, config))


def test_the_sampling_temperature_changes_the_loss(started, tmp_path):
    trainer, folder = started("qwen3")
    groups = random_groups(seed=7, temperature=0.5)

    found, _ = loss_and_gradient(trainer, groups, TrainConfig(), tmp_path)

    wrong, _ = plain_loss_and_gradient(
        folder, make_base("qwen3"), random_groups(seed=7, temperature=1.0), TrainConfig()
    )
    assert found != pytest.approx(wrong, rel=1e-2)
