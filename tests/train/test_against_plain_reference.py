"""Loss and gradient are those of the formula, however prompts are shared and batches cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from plain import plain_loss
from safetensors.torch import load_file
from worlds import FAMILIES, make_base, random_groups

from adapters import open_with_peft
from art.config import LoRAConfig, TrainConfig
from art.train.trainer import Trainer

# Both compute in float32, in another order; losses and gradients are sums over some sixty terms of both signs.
RELATIVE, ABSOLUTE = 2e-4, 1e-5
UNCLIPPED = 1e9

SETTINGS = {
    "cispo": {},
    "ppo": {"loss": "ppo"},
    "gspo": {"loss": "gspo", "epsilon": 0.5, "epsilon_high": 0.9},
    "asymmetric": {"loss": "ppo", "epsilon": 0.1, "epsilon_high": 0.9},
    "sequence-level": {"importance_sampling_level": "sequence"},
    "average-level": {"loss": "ppo", "epsilon": 0.9, "importance_sampling_level": "average"},
    "geometric-level": {"loss": "ppo", "epsilon": 0.9, "importance_sampling_level": "geometric_average"},
    "token-mean": {"aggregate": "token"},
    "constant": {"aggregate": "constant", "constant_length": 7},
    "unscaled": {"scale_rewards": False},
    "batch-scaled": {"scale_rewards": "batch"},
    "leave-one-out": {"leave_one_out": True, "scale_rewards": False},
    "good-ones": {"advantage_balance": 0.7},
    "bad-ones": {"advantage_balance": -0.7},
    "with-kl": {"beta": 0.3},
    "penalty": {"kl_penalty_coef": 0.5},
    "penalty-of-the-sampler": {"kl_penalty_coef": 0.5, "kl_penalty_source": "sample"},
    "kimi": {"kimi_k2_tau": 0.3},
    "own-ratio": {"precalculate_logprobs": True},
    "truncated-importance": {"loss": "ppo", "truncated_importance_sampling": 1.5},
    "dual-clip": {"loss": "ppo", "dual_clip": 1.3},
    "dual-clip-cispo": {"dual_clip": 1.3},
    "masked-ratio": {"loss": "ppo", "mask_prob_ratio": True, "epsilon": 0.8, "epsilon_high": 3.0},
    "off-policy-mask": {"loss": "ppo", "off_policy_mask": 0.05},
    "entropy": {"entropy_bonus": 0.2},
    "tiny-micro-batches": {"micro_batch_tokens": 40, "beta": 0.3, "kl_penalty_coef": 0.2, "entropy_bonus": 0.1},
    "one-row-each": {"micro_batch_tokens": 1, "loss": "gspo", "epsilon": 0.5, "epsilon_high": 0.9},
}


def loss_and_gradient(trainer: Trainer, groups, config: TrainConfig, folder, **reference: Path):
    """Take a step with fresh moments; its first moment is then the gradient, less AdamW's decay."""
    metrics = trainer.step(groups, config.model_copy(update={"max_grad_norm": UNCLIPPED}), **reference)
    trainer.save(folder)
    moments = load_file(folder / "optimizer.safetensors")
    prefix = "exp_avg."
    return metrics["loss"], {
        name.removeprefix(prefix): moment / (1 - config.betas[0])
        for name, moment in moments.items()
        if name.startswith(prefix)
    }


def plain_loss_and_gradient(model: PeftModel, groups, config: TrainConfig, **reference: PeftModel):
    model.zero_grad()
    loss = plain_loss(model, groups, config, **reference)
    loss.backward()
    gradients = {
        name.replace(".default.", "."): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return loss.item(), gradients


@dataclass(frozen=True)
class Started:
    """A trainer whose adapter has moved away from its start, and the same adapter in a PEFT model."""

    trainer: Trainer
    folder: Path
    plain: PeftModel
    earlier: Path
    """The adapter as it was a step before."""

    def back(self) -> Trainer:
        """Put the trainer back to where it was, with fresh moments."""
        self.trainer.load(self.folder, reset=frozenset({"optimizer"}))
        return self.trainer


def start(family: str, tokenizer, folder: Path) -> Started:
    trainer = Trainer(make_base(family), tokenizer, lora=LoRAConfig(rank=4), seed=3)
    for seed, where in ((100, folder / "earlier"), (101, folder)):
        trainer.step(random_groups(seed=seed), TrainConfig(learning_rate=1e-2, max_grad_norm=1.0))
        where.mkdir(exist_ok=True)
        trainer.save(where)
    return Started(trainer, folder, open_with_peft(folder, make_base(family)), folder / "earlier")


@pytest.fixture(scope="module")
def qwen3(tokenizer, tmp_path_factory) -> Started:
    return start("qwen3", tokenizer, tmp_path_factory.mktemp("qwen3"))


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
def test_every_family_has_the_plain_loss_and_gradient(family, tokenizer, tmp_path_factory, tmp_path):
    started = start(family, tokenizer, tmp_path_factory.mktemp("start"))
    groups = random_groups(seed=5, temperature=0.7)
    config = TrainConfig(loss="ppo", beta=0.2)

    found = loss_and_gradient(started.back(), groups, config, tmp_path)

    assert_same(found, plain_loss_and_gradient(started.plain, groups, config))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_loss_has_the_plain_value_and_gradient(setting, qwen3, tmp_path):
    groups = random_groups(seed=6, groups=2)
    config = TrainConfig(**SETTINGS[setting])

    found = loss_and_gradient(qwen3.back(), groups, config, tmp_path)

    assert_same(found, plain_loss_and_gradient(qwen3.plain, groups, config))
    assert setting == "cispo" or found[0] != plain_loss(qwen3.plain, groups, TrainConfig()).item()


@pytest.mark.parametrize("setting", ["with-kl", "penalty", "penalty-of-the-sampler"])
def test_kl_from_an_earlier_adapter_has_the_plain_value_and_gradient(setting, qwen3, tmp_path):
    groups = random_groups(seed=6, groups=2)
    config = TrainConfig(**SETTINGS[setting])
    earlier = open_with_peft(qwen3.earlier, make_base("qwen3"))

    found = loss_and_gradient(qwen3.back(), groups, config, tmp_path, reference=qwen3.earlier)

    assert_same(found, plain_loss_and_gradient(qwen3.plain, groups, config, earlier=earlier))
    assert found[0] != pytest.approx(plain_loss(qwen3.plain, groups, config).item(), rel=1e-3)


def test_the_sampling_temperature_changes_the_loss(qwen3, tmp_path):
    groups = random_groups(seed=7, temperature=0.5)

    found, _ = loss_and_gradient(qwen3.back(), groups, TrainConfig(), tmp_path)

    wrong = plain_loss(qwen3.plain, random_groups(seed=7, temperature=1.0), TrainConfig()).item()
    assert found != pytest.approx(wrong, rel=1e-2)
