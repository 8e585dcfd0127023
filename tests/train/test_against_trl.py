"""Loss and gradient of each objective that TRL has too are TRL's, on the same log-probabilities.

TRL is in the dependency group `bench`, not in the tests' own: without it these tests are skipped.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from art.config import TrainConfig
from art.train.loss.aggregate import token_weights
from art.train.loss.terms import token_terms
from art.train.loss.vectors import Vectors

pytest.importorskip("trl")
# TRL's own, of the transformers release that is here.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

# Both compute in float32, in another order.
CLOSE = 1e-5
LENGTHS = (3, 7, 1, 5)
MOST = max(LENGTHS)
UNSET = {"loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.2}

SETTINGS = {
    "ppo, trajectories": ({"loss": "ppo"}, {}),
    "ppo, tokens": ({"loss": "ppo", "aggregate": "token"}, {"loss_type": "dapo"}),
    "ppo, Dr. GRPO": ({"loss": "ppo", "aggregate": "constant", "constant_length": MOST}, {"loss_type": "dr_grpo"}),
    "ppo, clipped higher": ({"loss": "ppo", "epsilon_high": 0.28}, {"epsilon_high": 0.28}),
    "ppo, dual clip": ({"loss": "ppo", "dual_clip": 1.5}, {"delta": 1.5}),
    "cispo": ({"aggregate": "token"}, {"loss_type": "cispo", "epsilon_high": 5.0}),
    "gspo": (
        {"loss": "gspo", "epsilon": 0.2, "epsilon_high": 0.3},
        {"importance_sampling_level": "sequence", "epsilon_high": 0.3},
    ),
    "KL in the loss": ({"loss": "ppo", "beta": 0.3}, {"beta": 0.3}),
    "off-policy mask": ({"loss": "ppo", "off_policy_mask": 0.1}, {"off_policy_mask_threshold": 0.1}),
    "entropy": (
        {"loss": "ppo", "aggregate": "token", "entropy_bonus": 0.2},
        {"loss_type": "dapo", "entropy_coef": 0.2},
    ),
}


@pytest.fixture(scope="module")
def world() -> dict[str, Tensor]:
    """Log-probabilities of four answers, as rows that are padded; some ratios are beyond every bound."""
    torch.manual_seed(0)
    shape = (len(LENGTHS), MOST)
    logp = -torch.rand(shape) * 4
    return {
        "logp": logp,
        "old": logp + 0.5 * torch.randn(shape),
        "reference": logp + 0.5 * torch.randn(shape),
        "entropy": torch.rand(shape),
        "advantage": torch.tensor([1.0, -1.0, 0.5, -0.7]),
        "mask": torch.arange(MOST) < torch.tensor(LENGTHS)[:, None],
    }


def of_trl(world: dict[str, Tensor], settings: dict[str, object]) -> tuple[float, Tensor]:
    from trl import GRPOConfig, GRPOTrainer

    values = {**UNSET, "importance_sampling_level": "token", "beta": 0.0, "off_policy_mask_threshold": None, **settings}
    logp, mask = world["logp"].clone().requires_grad_(), world["mask"]
    trainer = GRPOTrainer.__new__(GRPOTrainer)
    arguments = GRPOConfig(
        output_dir="unused",
        use_cpu=True,
        bf16=False,
        report_to="none",
        delta=values.pop("delta", None),
        steps_per_generation=1,
        use_bias_correction_kl=False,
    )
    coefficient = values.pop("entropy_coef", 0.0)
    for name, value in values.items():
        setattr(trainer, name, value)
    trainer.args = arguments
    trainer.model = SimpleNamespace(training=True)
    trainer.accelerator = SimpleNamespace(
        num_processes=1, sync_gradients=True, gather=lambda tensor: tensor, reduce=lambda tensor, reduction: tensor
    )
    trainer.aux_loss_enabled = trainer.use_vllm = trainer.use_adaptive_entropy = False
    trainer.top_entropy_quantile, trainer.current_gradient_accumulation_steps = 1.0, 1
    trainer.max_completion_length = MOST
    trainer.entropy_coef, trainer._entropy_bonus_enabled = coefficient, bool(coefficient)
    trainer._metrics = {"train": defaultdict(list)}
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logp, world["entropy"] * logp.exp(), None)
    loss = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": torch.zeros(len(LENGTHS), 1, dtype=torch.long),
            "prompt_mask": torch.ones(len(LENGTHS), 1, dtype=torch.long),
            "completion_ids": torch.zeros_like(mask, dtype=torch.long),
            "completion_mask": mask.long(),
            "advantages": world["advantage"],
            "old_per_token_logps": world["old"],
            "ref_per_token_logps": world["reference"],
            "num_items_in_batch": mask.sum(),
        },
    )
    loss.backward()
    return loss.item(), logp.grad[mask]


def of_ours(world: dict[str, Tensor], settings: dict[str, object]) -> tuple[float, Tensor]:
    config = TrainConfig(**settings)
    mask = world["mask"]
    logp_N = world["logp"][mask].clone().requires_grad_()
    sequence_N = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    vectors = Vectors(
        logp_N=logp_N,
        entropy_N=world["entropy"][mask] * logp_N.exp(),
        sampler_logp_N=world["old"][mask],
        old_logp_N=world["old"][mask],
        reference_logp_N=world["reference"][mask] if config.needs_reference else None,
        advantage_N=world["advantage"][sequence_N],
        trajectory_N=sequence_N,
        sequence_N=sequence_N,
        mask_N=torch.ones_like(sequence_N, dtype=torch.bool),
    )
    weight_N = token_weights(torch.tensor(LENGTHS, dtype=torch.float32)[sequence_N], config)
    total = len(sequence_N) if config.aggregate == "token" else len(LENGTHS)
    loss = (token_terms(vectors, config).loss_N * weight_N).sum() / total
    loss.backward()
    return loss.item(), logp_N.grad


@pytest.mark.parametrize("objective", SETTINGS)
def test_loss_and_gradient_are_those_of_trl(objective, world):
    ours, theirs = SETTINGS[objective]

    loss, gradient_N = of_ours(world, ours)

    their_loss, their_gradient_N = of_trl(world, theirs)
    assert loss == pytest.approx(their_loss, abs=CLOSE)
    torch.testing.assert_close(gradient_N, their_gradient_N, rtol=0, atol=CLOSE)
    assert gradient_N.abs().max() > 100 * CLOSE
