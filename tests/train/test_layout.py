"""How rows are laid out for a forward pass: nothing twice, nothing too large, and one result however it is cut."""

from __future__ import annotations

import random

import pytest
import torch
from worlds import choice, make_base, random_groups, trajectory

from art.config import LoRAConfig, TrainConfig
from art.train import attention, head
from art.train.advantage import centred, divided, standard_deviation
from art.train.batch import Example, Family, collate, micro_batches
from art.train.forward import Scorer
from art.train.loss.terms import token_terms
from art.train.loss.vectors import Vectors
from art.train.tokenize import Row, Span
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

CPU = torch.device("cpu")
# Sums in another order, in float32.
CLOSE = 1e-5


def example(prompt: list[int], said: list[int], *, temperature: float = 1.0) -> Example:
    row = Row((*prompt, *said), (Span(start=len(prompt), logprobs=(-1.0,) * len(said), temperature=temperature),))
    return Example(row=row, advantages=(1.0,), trajectory=0, trajectory_tokens=len(said))


def many_examples(count: int) -> list[Example]:
    draw = random.Random(count)
    prompts = [[draw.randrange(256) for _ in range(draw.randint(2, 12))] for _ in range(3)]
    return [example(prompts[place % 3], [draw.randrange(256) for _ in range(1 + place % 5)]) for place in range(count)]


def test_prompts_and_repeated_branches_are_laid_out_once():
    examples = [example([1, 2], said) for said in ([5, 6, 7], [5, 6, 8], [5, 6, 7], [9], [3, 4])]

    batch = collate(examples, device=CPU)

    assert batch.token_T.tolist() == [1, 2, 5, 6, 3]
    assert batch.position_T.tolist() == [0, 1, 2, 3, 2]
    assert batch.families == (Family(0, 2, (2, 1)),)
    assert len(batch.target_N) == 12
    assert len(batch.query_Q) == 4


def test_a_prompt_with_one_branch_is_one_sequence():
    batch = collate([example([1, 2], [5, 6]), example([1, 2], [7]), example([3], [4])], device=CPU)

    assert batch.token_T.tolist() == [1, 2, 5, 3]
    assert batch.families == (Family(0, 3, ()), Family(3, 1, ()))


def test_rows_of_one_text_at_two_temperatures_are_asked_twice():
    batch = collate([example([1], [5]), example([1], [5], temperature=0.5)], device=CPU)

    assert sorted(batch.temperature_Q.tolist()) == [0.5, 1.0]


def test_greedy_rows_count_as_temperature_one():
    batch = collate([example([1], [5], temperature=0.0)], device=CPU)

    assert batch.temperature_Q.tolist() == [1.0]


def test_micro_batches_keep_the_order_and_the_limit():
    examples = many_examples(40)

    batches = list(micro_batches(examples, max_tokens=60))

    assert [example for batch in batches for example in batch] == examples
    assert len(batches) > 1
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        assert len(collate(batch, device=CPU).token_T) <= 60
        if following:
            assert len(collate([*batch, following[0]], device=CPU).token_T) > 60


def test_a_row_larger_than_a_micro_batch_stands_alone():
    examples = many_examples(5)

    assert [len(batch) for batch in micro_batches(examples, max_tokens=1)] == [1] * 5


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "gemma3-short-window", "mistral-short-window"])
@pytest.mark.parametrize("branches", ["together", "one by one"])
@pytest.mark.parametrize("pieces", [3, 1000])
def test_scores_do_not_depend_on_sharing_or_on_pieces_of_logits(family, branches, pieces, monkeypatch):
    model = make_base(family)
    examples = sorted(many_examples(30), key=lambda found: found.row.token_ids)
    alone = [Scorer(model).score(collate([found], device=CPU)).logp_N for found in examples]

    monkeypatch.setattr(head, "MAX_LOGITS", 259 * pieces)
    monkeypatch.setattr(attention, "MAX_SCORES", 2**22 if branches == "together" else 0)
    batch = collate(examples, device=CPU)
    scores = Scorer(model).score(batch)

    assert torch.allclose(scores.logp_N.sort().values, torch.cat(alone).sort().values, atol=1e-4)


def test_branches_that_attend_one_by_one_give_the_same_gradient(tokenizer, monkeypatch):
    def step(most: int) -> dict[str, float]:
        monkeypatch.setattr(attention, "MAX_SCORES", most)
        trainer = Trainer(make_base("gemma3-short-window"), tokenizer, lora=LoRAConfig(rank=4), seed=0)
        return trainer.step(random_groups(seed=2), TrainConfig())

    together, apart = step(2**22), step(0)

    assert apart["grad_norm"] == pytest.approx(together["grad_norm"], rel=CLOSE)
    assert apart["loss"] == pytest.approx(together["loss"], rel=CLOSE)


def test_logits_computed_again_in_pieces_give_the_same_gradient(tokenizer, monkeypatch):
    def step(pieces: int) -> dict[str, float]:
        monkeypatch.setattr(head, "MAX_LOGITS", 259 * pieces)
        trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=0)
        return trainer.step(random_groups(seed=2), TrainConfig())

    whole, cut = step(10_000), step(5)

    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=CLOSE)
    assert cut["loss"] == pytest.approx(whole["loss"], rel=CLOSE)


def test_a_conversation_of_two_turns_trains_as_its_two_rows_would(tokenizer):
    def step(*, same_spelling: bool) -> dict[str, float]:
        groups = [TrajectoryGroup() for _ in range(2)]
        for place, group in enumerate(groups):
            for reward, first, second in ((0.0, 21, 31), (1.0, 22, 32)):
                one = choice([first], prompt_ids=[1, 2, place])
                history = [1, 2, place, first, 3]
                two = choice([second, 40], prompt_ids=history)
                # A choice in a trajectory of its own keeps its row; the other member's split the same way.
                parts = [trajectory(one, two, reward=reward)]
                if not same_spelling:
                    parts = [trajectory(choice, reward=reward) for choice in (one, two)]
                group.trajectories.extend(parts)
        return Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=0).step(
            groups, TrainConfig(aggregate="token")
        )

    merged, apart = step(same_spelling=True), step(same_spelling=False)

    assert (merged["rows"], apart["rows"]) == (4.0, 8.0)
    for name in ("loss", "grad_norm", "entropy", "tokens"):
        assert merged[name] == pytest.approx(apart[name], rel=CLOSE, abs=CLOSE)


def test_advantages_are_centred_and_divided():
    rewards = [0.0, 1.0, 1.0, 0.0]

    assert centred(rewards) == [-0.5, 0.5, 0.5, -0.5]
    assert divided(centred(rewards), standard_deviation(rewards)) == pytest.approx([-1, 1, 1, -1], abs=1e-5)
    assert centred([0.0, 1.0, 2.0], leave_one_out=True) == [-1.5, 0.0, 1.5]
    assert centred([0.3, 0.3]) is None
    assert centred([0.3]) is None


def terms_of(logp: torch.Tensor, advantage: float, config: TrainConfig):
    """Give the terms of one token that was sampled at a log-probability of -1."""
    sampler = torch.tensor([-1.0])
    return token_terms(
        Vectors(
            logp_N=logp,
            entropy_N=torch.zeros(1),
            sampler_logp_N=sampler,
            old_logp_N=sampler,
            reference_logp_N=None,
            advantage_N=torch.tensor([advantage]),
            trajectory_N=torch.tensor([0]),
            sequence_N=torch.tensor([0]),
            mask_N=torch.tensor([True]),
        ),
        config,
    )


@pytest.mark.parametrize(
    ("advantage", "shift", "clipped"), [(1.0, 0.5, True), (1.0, -0.5, False), (-1.0, 0.5, False), (-1.0, -0.5, True)]
)
def test_ppo_stops_a_token_only_where_it_has_moved_far_enough_already(advantage, shift, clipped):
    logp = torch.tensor([-1.0 + shift], requires_grad=True)

    terms = terms_of(logp, advantage, TrainConfig(loss="ppo"))
    terms.loss_N.sum().backward()

    assert bool(terms.clipped_N) == clipped
    assert (logp.grad.item() == 0.0) == clipped


def test_cispo_lets_a_clipped_token_teach_with_a_bounded_weight():
    logp = torch.tensor([1.0], requires_grad=True)

    terms = terms_of(logp, 2.0, TrainConfig(epsilon_high=0.5))
    terms.loss_N.sum().backward()

    assert bool(terms.clipped_N)
    assert logp.grad.item() == pytest.approx(-1.5 * 2.0)
