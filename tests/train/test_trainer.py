"""One step of the trainer: what it measures, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import json
import logging
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from worlds import choice, make_base, random_groups, trajectory

from adapters import open_with_peft
from art.adapter.files import lora_config_of, read_adapter_shape
from art.config import LoRAConfig, TrainConfig
from art.errors import (
    ConfigurationError,
    CorruptCheckpointError,
    FormatVersionError,
    LoRAShapeMismatchError,
    TrainingDataError,
)
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

FAST = TrainConfig(learning_rate=1e-2)
FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer.json")


@pytest.fixture
def make_trainer(tokenizer):
    def make(base=None, *, seed: int = 1, **lora) -> Trainer:
        return Trainer(base or make_base(), tokenizer, lora=LoRAConfig(**{"rank": 4, **lora}), seed=seed)

    return make


@pytest.fixture
def saved(make_trainer, tmp_path):
    """The folder of a trainer that took two steps."""
    folder = tmp_path / "saved"
    folder.mkdir()
    trainer = make_trainer()
    trainer.state = {"offset": 7}
    for seed in (1, 2):
        trainer.step(random_groups(seed=seed), FAST)
    trainer.save(folder)
    return folder


def contents(trainer: Trainer, folder) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    trainer.save(folder)
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_fresh_adapter_depends_on_the_seed_alone(make_trainer, tmp_path):
    torch.manual_seed(1)
    first = contents(make_trainer(seed=5), tmp_path / "a")
    torch.manual_seed(2)

    again = contents(make_trainer(seed=5), tmp_path / "b")

    assert again == first
    assert contents(make_trainer(seed=6), tmp_path / "c") != first


def test_training_leaves_the_global_generator_and_the_base_as_they_were(make_trainer):
    base = make_base()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    flags = [parameter.requires_grad for parameter in base.parameters()]
    torch.manual_seed(3)
    state = torch.get_rng_state()

    trainer = make_trainer(base, dropout=0.4)
    trainer.step(random_groups(seed=1), FAST)

    assert torch.equal(torch.get_rng_state(), state)
    assert [parameter.requires_grad for parameter in base.parameters()] == flags
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_two_trainers_share_the_tensors_of_the_base_and_nothing_else(make_trainer, tmp_path):
    base = make_base()
    one, other = make_trainer(base), make_trainer(base)
    untouched = contents(other, tmp_path / "other")

    one.step(random_groups(seed=1), FAST)

    assert contents(other, tmp_path / "other") == untouched
    pointers = {parameter.data_ptr() for parameter in base.parameters()}
    assert pointers <= {parameter.data_ptr() for parameter in one._adapter.model.parameters()}


def test_loading_brings_back_every_byte(saved, make_trainer, tmp_path):
    trainer = make_trainer(seed=99)

    afresh = trainer.load(saved)

    assert afresh == ()
    assert trainer.optimizer_steps == 2
    assert trainer.state == {"offset": 7}
    assert contents(trainer, tmp_path / "again") == {name: (saved / name).read_bytes() for name in FILES}


def test_a_foreign_adapter_is_loaded_and_the_rest_starts_afresh(saved, make_trainer):
    (saved / "optimizer.safetensors").unlink()
    (saved / "trainer.json").unlink()
    trainer = make_trainer()

    afresh = trainer.load(saved)

    assert afresh == ("optimizer", "schedule", "random", "state")
    assert trainer.state is None


def test_parts_are_reset_when_asked(saved, make_trainer, tmp_path):
    trainer = make_trainer()

    afresh = trainer.load(saved, reset=frozenset({"optimizer", "state"}))

    assert afresh == ("optimizer", "state")
    assert trainer.state is None
    contents(trainer, tmp_path / "again")
    moments = load_file(tmp_path / "again" / "optimizer.safetensors")
    assert all(not tensor.any() for tensor in moments.values())


def test_a_part_that_does_not_exist_cannot_be_reset(saved, make_trainer):
    trainer = make_trainer()

    with pytest.raises(ConfigurationError, match="momentum"):
        trainer.load(saved, reset=frozenset({"momentum"}))


@pytest.mark.parametrize("lora", [{"rank": 8}, {"alpha": 4.0}, {"targets": ("q_proj",)}])
def test_an_adapter_of_another_shape_is_refused_and_changes_nothing(lora, saved, make_trainer, tmp_path):
    trainer = make_trainer(**lora)
    before = contents(trainer, tmp_path / "before")

    with pytest.raises(LoRAShapeMismatchError, match="LoRAConfig"):
        trainer.load(saved)

    assert contents(trainer, tmp_path / "before") == before


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_and_changes_nothing(name, saved, make_trainer, tmp_path):
    file = saved / name
    file.write_bytes(file.read_bytes()[:-20])
    trainer = make_trainer()
    before = contents(trainer, tmp_path / "before")

    with pytest.raises(CorruptCheckpointError, match=name):
        trainer.load(saved)

    assert contents(trainer, tmp_path / "before") == before


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_adapter_file_is_refused(name, saved, make_trainer):
    (saved / name).unlink()

    with pytest.raises(CorruptCheckpointError, match=name):
        make_trainer().load(saved)


def test_moments_of_another_adapter_are_refused(saved, make_trainer):
    moments = load_file(saved / "optimizer.safetensors")
    moments.pop(sorted(moments)[0])
    save_file(moments, saved / "optimizer.safetensors")

    with pytest.raises(CorruptCheckpointError, match="moments"):
        make_trainer().load(saved)


def test_a_newer_format_is_refused(saved, make_trainer):
    file = saved / "trainer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))

    with pytest.raises(FormatVersionError, match="99"):
        make_trainer().load(saved)


def test_another_environment_is_named_once(saved, make_trainer, caplog):
    file = saved / "trainer.json"
    values = json.loads(file.read_text())
    values["environment"]["threads"] = 31
    values["environment"]["torch"] = "1.0"
    file.write_text(json.dumps(values))
    trainer = make_trainer()

    with caplog.at_level(logging.WARNING):
        trainer.load(saved)

    (record,) = caplog.records
    assert "threads 31 -> 1" in record.getMessage()
    assert "torch 1.0 ->" in record.getMessage()


def test_the_same_environment_is_not_mentioned(saved, make_trainer, caplog):
    with caplog.at_level(logging.WARNING):
        make_trainer().load(saved)

    assert not caplog.records


def test_state_that_is_not_json_is_refused(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.state = {1, 2}

    with pytest.raises(ConfigurationError, match="JSON"):
        trainer.save(tmp_path)


def test_peft_opens_what_a_trainer_saved(saved, make_trainer):
    trainer = make_trainer()
    trainer.load(saved)
    model = open_with_peft(saved, make_base(), trainable=False)
    opened = {name.replace(".default.", "."): value for name, value in model.named_parameters() if "lora_" in name}

    file = load_file(saved / "adapter_model.safetensors")

    assert opened.keys() == file.keys()
    assert all(torch.equal(opened[name], tensor) for name, tensor in file.items())


def test_the_shape_of_an_adapter_is_read_from_its_folder(saved, make_trainer):
    lora = lora_config_of(read_adapter_shape(saved))

    assert (lora.rank, lora.alpha) == (4, 16.0)
    assert make_trainer(**lora.model_dump()).load(saved) == ()


def test_targets_that_no_layer_has_are_refused(make_trainer):
    with pytest.raises(ConfigurationError, match="no_such_layer"):
        make_trainer(targets=("no_such_layer",))


def test_layers_that_are_more_than_one_matrix_are_refused(make_trainer):
    with pytest.raises(ConfigurationError, match=r"w1, w2, w3.* Experts"):
        make_trainer(make_base("mixtral"), targets=("q_proj", "w1", "w2", "w3"))


def test_the_order_in_which_rollouts_came_back_changes_nothing(make_trainer, tmp_path):
    groups = random_groups(seed=4)
    shuffled = [group.model_copy(update={"trajectories": list(group.trajectories)}) for group in groups]
    for place, group in enumerate(shuffled):
        random.Random(place).shuffle(group.trajectories)
    one, other = make_trainer(), make_trainer()

    losses = one.step(groups, FAST)["loss"], other.step(shuffled, FAST)["loss"]

    assert losses[0] == losses[1]
    assert contents(one, tmp_path / "one") == contents(other, tmp_path / "other")


def test_groups_with_equal_rewards_are_counted_and_skipped(make_trainer, tmp_path):
    groups = random_groups(seed=4)
    equal = TrajectoryGroup(random_groups(seed=9)[0].trajectories)
    for member in equal:
        member.reward = 0.5
    lone = TrajectoryGroup(random_groups(seed=10)[0].trajectories[:1])
    one, other = make_trainer(), make_trainer()

    with_them = one.step([equal, *groups, lone], FAST)
    without = other.step(groups, FAST)

    assert with_them["groups_without_signal"] == 2
    assert with_them["groups"] == 5
    assert with_them["tokens"] == without["tokens"]
    assert contents(one, tmp_path / "one") == contents(other, tmp_path / "other")


def test_a_step_without_any_signal_moves_only_the_counters(saved, make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.load(saved)
    groups = random_groups(seed=4)
    for group in groups:
        for member in group:
            member.reward = 1.0

    metrics = trainer.step(groups, FAST)

    assert not metrics.keys() & {"loss", "policy_loss", "grad_norm"}
    assert metrics["tokens"] == 0.0
    assert metrics["groups_without_signal"] == metrics["groups"]
    after = contents(trainer, tmp_path / "after")
    assert after["adapter_model.safetensors"] == (saved / "adapter_model.safetensors").read_bytes()
    assert after["optimizer.safetensors"] == (saved / "optimizer.safetensors").read_bytes()
    assert trainer.optimizer_steps == 3


def test_the_divergence_from_the_own_weights_is_zero_and_from_the_base_is_not(saved, make_trainer, tmp_path):
    config = TrainConfig(beta=0.1)
    groups = random_groups(seed=4)
    one, other = make_trainer(), make_trainer()
    one.load(saved)
    other.load(saved)

    to_itself = one.step(groups, config, reference=saved)
    to_base = other.step(groups, config)

    assert to_itself["kl"] == 0.0
    assert to_base["kl"] > 1e-3
    assert "kl" not in make_trainer().step(groups, TrainConfig())


def test_a_reference_of_another_shape_is_refused(saved, make_trainer):
    trainer = make_trainer(rank=2)

    with pytest.raises(LoRAShapeMismatchError):
        trainer.step(random_groups(seed=4), TrainConfig(beta=0.1), reference=saved)


def test_the_gradient_is_clipped_to_the_norm_asked_for(make_trainer, tmp_path):
    trainer = make_trainer()

    metrics = trainer.step(random_groups(seed=4), TrainConfig(max_grad_norm=1e-3, betas=(0.0, 0.9)))

    assert metrics["grad_norm"] > 1e-2
    contents(trainer, tmp_path / "folder")
    moments = load_file(tmp_path / "folder" / "optimizer.safetensors")
    gradients = [tensor.flatten() for name, tensor in moments.items() if name.startswith("exp_avg.")]
    assert torch.cat(gradients).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_rates_follow_the_schedule(make_trainer):
    trainer = make_trainer()
    config = TrainConfig(learning_rate=1.0, schedule="linear", warmup_steps=2, total_steps=6)
    groups = random_groups(seed=4, groups=1)
    for member in groups[0]:
        member.reward = 0.0

    rates = [trainer.step(groups, config)["learning_rate"] for _ in range(8)]

    assert rates == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_a_schedule_without_an_end_is_refused_before_anything_changes(make_trainer, tmp_path):
    trainer = make_trainer()
    before = contents(trainer, tmp_path / "folder")

    with pytest.raises(ConfigurationError, match="total_steps"):
        trainer.step(random_groups(seed=4), TrainConfig(schedule="cosine"))

    assert contents(trainer, tmp_path / "folder") == before


def test_a_loss_that_is_not_finite_changes_nothing(make_trainer, tmp_path):
    base = make_base()
    trainer = make_trainer(base, dropout=0.2)
    before = contents(trainer, tmp_path / "folder")
    weights = base.model.norm.weight.detach().clone()
    base.model.norm.weight.data.fill_(float("nan"))

    with pytest.raises(TrainingDataError, match="not finite"):
        trainer.step(random_groups(seed=4), FAST)

    assert contents(trainer, tmp_path / "folder") == before
    base.model.norm.weight.data.copy_(weights)
    assert trainer.step(random_groups(seed=4), FAST)["grad_norm"] > 0


def test_a_wild_sampler_log_probability_gives_a_finite_step(make_trainer):
    group = TrajectoryGroup(
        trajectory(choice([7, 8], prompt_ids=[1, 2], logprobs=[-9999.0, -1.0]), reward=reward) for reward in (0.0, 1.0)
    )

    metrics = make_trainer().step([group], FAST)

    assert metrics["clip_fraction"] > 0
    assert metrics["grad_norm"] < 1e6


def test_entropy_and_ratio_are_those_of_the_sampling_distribution(make_trainer):
    trainer, base = make_trainer(), make_base()
    prompt, said, temperature = [3, 4, 5], [6, 7], 0.6
    logits = base(input_ids=torch.tensor([[*prompt, *said]])).logits[0, 2:4].float() / temperature
    distribution = torch.distributions.Categorical(logits=logits)
    logps = distribution.log_prob(torch.tensor(said)).tolist()
    group = TrajectoryGroup(
        trajectory(choice(said, prompt_ids=prompt, logprobs=logps, temperature=temperature), reward=reward)
        for reward in (0.0, 1.0)
    )

    metrics = trainer.step([group], FAST)

    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["clip_fraction"] == 0.0
    assert metrics["entropy"] == pytest.approx(distribution.entropy().mean().item(), rel=1e-5)
