"""A fork of a Trainer's run goes on with its script's settings; moments and the place in the schedule stay."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

from art.hf import Branch
from art.names import ModelRef
from art.store.store import CheckpointStore

from .train import Rows

WHOLE, FIRST, FORK = "shop/whole", "shop/first", "shop/fork"
RATE = 1e-2


class Noted(TrainerCallback):
    """The optimizer's options at each step, and whether it has moments before the first."""

    def __init__(self) -> None:
        self.groups: list[list[dict[str, Any]]] = []
        self.has_moments = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.has_moments = any("exp_avg" in each for each in given["optimizer"].state.values())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        groups = given["optimizer"].param_groups
        self.groups.append([{name: value for name, value in group.items() if name != "params"} for group in groups])

    def rates(self) -> list[float]:
        return [groups[0]["lr"] for groups in self.groups]


def train(name: str, folder: Path, steps: int, *, own: Any = None, told: bool = True, **settings: Any) -> Noted:
    set_seed(7)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    branch, noted = Branch(name, root=folder / "root"), Noted()
    arguments = TrainingArguments(
        str(folder / name), max_steps=6, save_steps=3, per_device_train_batch_size=4, report_to="none", use_cpu=True,
        disable_tqdm=True, **{"learning_rate": RATE, **settings},
    )  # fmt: skip
    made = (own(model), None) if own else (None, None)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Rows(),
        callbacks=[branch.callback(), noted],
        optimizers=made,  # pyright: ignore
    )
    if steps < 6:
        trainer.add_callback(StopsAt(steps))
    trainer.train(resume_from_checkpoint=branch.resume(trainer if told else None))
    return noted


class StopsAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Noted]:
    folder = tmp_path_factory.mktemp("options")
    whole = train(WHOLE, folder, 6)
    train(FIRST, folder, 3)
    return folder, whole


def fork(folder: Path, name: str) -> None:
    store = CheckpointStore(folder / "root")
    store.fork(store.open(ModelRef.parse(FIRST).at(3)), ModelRef.parse(name))


def weights(folder: Path, name: str) -> bytes:
    return (CheckpointStore(folder / "root").open(ModelRef.parse(name).at(6)).path / "model.safetensors").read_bytes()


def test_the_same_settings_give_the_same_bits_and_no_word(runs: tuple[Path, Noted], caplog: pytest.LogCaptureFixture):
    folder, whole = runs
    fork(folder, "shop/same")

    same = train("shop/same", folder, 6)

    assert same.rates() == whole.rates()[3:]
    assert weights(folder, "shop/same") == weights(folder, WHOLE)
    assert caplog.messages == []


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine_with_min_lr"])
def test_a_fork_takes_the_rate_of_its_script_along_the_schedule(
    tmp_path: Path, schedule: str, caplog: pytest.LogCaptureFixture
):
    settings: dict[str, Any] = {"lr_scheduler_type": schedule}
    if schedule == "cosine_with_min_lr":
        settings["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    whole = train(WHOLE, tmp_path, 6, **settings)
    train(FIRST, tmp_path, 3, **settings)
    fork(tmp_path, FORK)

    forked = train(FORK, tmp_path, 6, **settings, learning_rate=RATE / 4)

    assert forked.has_moments
    assert forked.rates() == [rate / 4 for rate in whole.rates()[3:]]
    assert caplog.messages == [
        "shop/fork: the optimizer goes on with this script's learning_rate 0.0025 in place of 0.01."
    ]


@pytest.mark.parametrize("told", [True, False])
def test_one_rank_of_several_says_what_differs(
    runs: tuple[Path, Noted], told: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    folder, whole = runs
    name = f"shop/second-rank-{told}".lower()
    fork(folder, name)
    monkeypatch.setattr(TrainingArguments, "process_index", 1)

    forked = train(name, folder, 4, told=told, learning_rate=RATE / 2)

    assert forked.rates() == [whole.rates()[3] / (2 if told else 1)]
    assert caplog.messages == []


def test_a_fork_takes_the_other_options_too(runs: tuple[Path, Noted]):
    folder, whole = runs
    fork(folder, "shop/options")

    forked = train("shop/options", folder, 6, weight_decay=0.1, adam_beta2=0.9, adam_epsilon=1e-6)

    assert [group["weight_decay"] for group in forked.groups[0]] == [0.1, 0.0]
    assert {(*group["betas"], group["eps"]) for group in forked.groups[-1]} == {(0.9, 0.9, 1e-6)}
    assert forked.rates() == whole.rates()[3:]


def test_what_a_script_schedules_of_its_own_optimizer_is_left_to_it(tmp_path: Path):
    def own(model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.5)

    train(FIRST, tmp_path, 3, own=own)
    fork(tmp_path, FORK)

    forked = train(
        FORK, tmp_path, 6, own=lambda model: torch.optim.AdamW(model.parameters(), lr=6e-3, weight_decay=0.1)
    )

    assert forked.groups[0][0]["weight_decay"] == 0.5
    assert forked.rates() == pytest.approx([3e-3, 2e-3, 1e-3])


def test_a_rate_that_stays_without_effect_is_told(runs: tuple[Path, Noted], caplog: pytest.LogCaptureFixture):
    folder, whole = runs
    fork(folder, "shop/untold")

    with caplog.at_level(logging.WARNING, "art"):
        forked = train("shop/untold", folder, 6, told=False, learning_rate=5e-2)

    assert forked.rates() == whole.rates()[3:]
    assert any("learning rate 0.01, not with this script's 0.05" in message for message in caplog.messages)
