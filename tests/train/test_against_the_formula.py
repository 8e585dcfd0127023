"""Every option of the loss has the value and the gradient of its formula, also where something is left out.

The formula is computed from conversations and their rewards; ours goes from the same trajectories through preparing,
laying out and the terms of the loss. The log-probabilities are given on both sides, so that both are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from plain import has_own_ratio
from plain_formula import Tables, Told, Turn, entropy, formula
from torch import Tensor
from worlds import choice, trajectory

from art.config import TrainConfig
from art.train.batch import collate
from art.train.loss.aggregate import token_weights, total_weight
from art.train.loss.divergence import drift, penalty
from art.train.loss.terms import token_terms
from art.train.loss.vectors import Vectors
from art.train.prepare import prepare
from art.train.tokenize import ReadingLimits
from art.trajectories import Trajectory, TrajectoryGroup

# Advantages and the sampler's log-probabilities are float32 in a batch; all else is double.
CLOSE = 1e-6
LIMITS = ReadingLimits(vocabulary=1000, context=None)
PROMPT, BETWEEN = 900, 901

GROUPS: tuple[tuple[Told, ...], ...] = (
    (
        Told(1.0, ((Turn((0, 1, 2)), Turn((3, 4), cut=True)),)),
        Told(0.0, ((Turn((5, 6, 7, 8)),), (Turn((9,)),))),
        Told(0.5, ((Turn((10, 11)),),)),  # its advantage is 0
        Told(0.5),  # it has no Choice
    ),
    (Told(2.0, ((Turn((12, 13), cut=True),),)), Told(0.0, ((Turn((14, 15, 16, 17, 18)),),)), Told(1.5)),
    (Told(0.3, ((Turn((19, 20)),),)), Told(0.3, ((Turn((21,)),),))),  # equal rewards
    (
        Told(1.0, ((Turn((22,)), Turn((23, 24))),), (0.0, 1.0)),
        Told(1.0, ((Turn((25, 26)), Turn((27,))),), (1.0, 0.5)),
    ),
)
TOKENS = 28


def reinforce(vectors: Vectors) -> Tensor:
    return -vectors.advantage_N * vectors.logp_N


LOSSES: Mapping[str, Mapping[str, Any]] = {
    "cispo": {},
    "ppo": {"loss": "ppo"},
    "ppo, clipped higher": {"loss": "ppo", "epsilon_high": 0.28},
    "gspo": {"loss": "gspo", "epsilon": 0.2, "epsilon_high": 0.3},
    "callable": {"loss": reinforce},
    "sequence level": {"loss": "ppo", "importance_sampling_level": "sequence", "epsilon": 0.9},
    "mean of both levels": {"loss": "ppo", "importance_sampling_level": "average", "epsilon": 0.9},
    "geometric mean of both levels": {"loss": "ppo", "importance_sampling_level": "geometric_average", "epsilon": 0.9},
    "dual clip": {"loss": "ppo", "dual_clip": 1.3},
    "cap": {"truncated_importance_sampling": 1.2},
    "mask of ratios": {"loss": "ppo", "mask_prob_ratio": True},
    "mask of bad sequences": {"loss": "ppo", "off_policy_mask": 0.01},
    "own ratio": {"loss": "ppo", "precalculate_logprobs": True},
    "pull": {"kimi_k2_tau": 0.3},
    "entropy bonus": {"entropy_bonus": 0.2},
    "KL in the loss": {"beta": 0.3},
    "KL penalty": {"kl_penalty_coef": 0.5},
    "KL penalty on what the sampler found": {"kl_penalty_coef": 0.5, "kl_penalty_source": "sample"},
    "batch's deviation": {"scale_rewards": "batch"},
    "no deviation": {"scale_rewards": False},
    "leave one out": {"leave_one_out": True},
    "good ones": {"advantage_balance": 0.6},
    "bad ones": {"advantage_balance": -0.6},
}
AGGREGATES = {"trajectory": {}, "token": {"aggregate": "token"}, "constant": {"aggregate": "constant"}}


@pytest.fixture(scope="module")
def tables() -> Tables:
    draw = torch.Generator().manual_seed(1)

    def spread(around: Tensor, by: float) -> Tensor:
        return around + by * torch.randn(TOKENS, generator=draw, dtype=torch.float64)

    logp = -2 - 4 * torch.rand(TOKENS, generator=draw, dtype=torch.float64)
    sampler = spread(logp, 0.5).float().double()
    assert len(set(sampler.tolist())) == TOKENS  # a token is known by it
    return Tables(logp.requires_grad_(), sampler, spread(logp.detach(), 0.5), spread(logp.detach(), 0.2))


def conversation(told: Told, tables: Tables) -> Trajectory:
    said = []
    for number, row in enumerate(told.rows):
        before = [PROMPT, number]
        for turn in row:
            logprobs = tables.sampler[list(turn.tokens)].tolist()
            spoken = choice(turn.tokens, prompt_ids=before, logprobs=logprobs)
            said.append(spoken.model_copy(update={"finish_reason": "length" if turn.cut else "stop"}))
            before = [*before, *turn.tokens, BETWEEN]
    return trajectory(*said, reward=told.reward, turn_rewards=list(told.turn_rewards))


def ours(groups: list[TrajectoryGroup], tables: Tables, config: TrainConfig, tokenizer: Any) -> Tensor:
    examples = prepare(groups, tokenizer, limits=LIMITS, config=config).examples
    batch = collate(examples, device=torch.device("cpu"))
    number_N = [tables.sampler.tolist().index(logp) for logp in batch.sampler_logp_N.tolist()]
    logp_N, sampler_logp_N = tables.logp[number_N], tables.sampler[number_N]
    reference_logp_N = tables.reference[number_N] if config.needs_reference else None
    advantage_N = batch.advantage_N.double()
    if reference_logp_N is not None and config.kl_penalty_coef:
        own_N = sampler_logp_N if config.kl_penalty_source == "sample" else logp_N
        drift_N = drift(own_N, reference_logp_N)
        mean = (drift_N * batch.mask_N).sum().item() / int(batch.mask_N.sum())
        advantage_N = advantage_N + penalty(drift_N, mean=mean, coefficient=config.kl_penalty_coef)
    vectors = Vectors(
        logp_N=logp_N,
        entropy_N=entropy(logp_N),
        sampler_logp_N=sampler_logp_N,
        old_logp_N=tables.start[number_N] if has_own_ratio(config) else sampler_logp_N,
        reference_logp_N=reference_logp_N,
        advantage_N=advantage_N,
        trajectory_N=batch.trajectory_N,
        sequence_N=batch.sequence_N,
        mask_N=batch.mask_N,
    )
    weight_N = token_weights(batch.trajectory_tokens_N.double(), config) * vectors.mask_N
    return (token_terms(vectors, config).loss_N * weight_N).sum() / total_weight(examples, config)


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut answers left out"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_gradient_are_those_of_the_formula(loss, aggregate, cut, tables, tokenizer):
    config = TrainConfig(**{**LOSSES[loss], **AGGREGATES[aggregate], "mask_truncated": cut})
    groups = [TrajectoryGroup([conversation(told, tables) for told in group]) for group in GROUPS]

    found, expected = ours(groups, tables, config, tokenizer), formula(GROUPS, tables, config)
    (gradient,), (wanted,) = (torch.autograd.grad(value, tables.logp) for value in (found, expected))

    assert found.item() == pytest.approx(expected.item(), rel=CLOSE, abs=CLOSE)
    torch.testing.assert_close(gradient, wanted, rtol=CLOSE, atol=CLOSE * float(wanted.abs().max()))
    assert (gradient[19:22] == 0).all()  # a group whose rewards are all equal teaches nothing


@pytest.mark.parametrize("loss", LOSSES)
def test_every_option_changes_the_gradient(loss, tables):
    plain, changed = (formula(GROUPS, tables, TrainConfig(**settings)) for settings in ({}, LOSSES[loss]))

    assert loss == "cispo" or not torch.equal(*(torch.autograd.grad(v, tables.logp)[0] for v in (plain, changed)))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_what_is_left_out_counts_in_no_denominator_and_its_reward_does_in_its_group(aggregate, tables, tokenizer):
    config = TrainConfig(**AGGREGATES[aggregate], mask_truncated=True)
    groups = [TrajectoryGroup([conversation(told, tables) for told in group]) for group in GROUPS]
    examples = prepare(groups, tokenizer, limits=LIMITS, config=config).examples

    # Three conversations of the first group, one of the second, both of the last; without five tokens that were cut.
    weighed, tokens = 6, 3 + 5 + 2 + 5 + 3 + 3
    assert total_weight(examples, config) == pytest.approx(tokens if aggregate == "token" else weighed)
    assert sum(example.loss_tokens for example in examples) == tokens
    (advantage,) = {example.advantages[0] for example in examples if example.row.token_ids[2] == 14}
    assert advantage == pytest.approx((0 - 3.5 / 3) / (math.sqrt(6.25 / 3 - (3.5 / 3) ** 2) + 1e-6))
