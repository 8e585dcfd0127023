"""A recorded step is taken again bit for bit, and what differs is named: the first of it."""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import art
import digits
from art.format.certificates import Edge
from art.local import LocalBackend
from art.local.replay import take
from art.ops.replay import Replay, ReplayOutcome, Way, certify, replay
from art.ops.rerun import Ran, Rerun
from art.ops.tree import read_tree
from art.store.certificates import certificates_of
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

ONE, TWO, TAUGHT, SPELLED = (art.ModelRef("p", name) for name in ("one", "two", "taught", "spelled"))
TEMPLATE = "{{ tone }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
"""Of the script."""
LORA = art.LoRAConfig(rank=4, dropout=0.05)
STAGES = ["rendering", "advantage", "log-probability", "loss", "gradient", "moments", "weights", "progress"]
LESSON: art.Messages = [{"role": "user", "content": "say one"}, {"role": "assistant", "content": "1"}]


def of_the_script(vectors: Any) -> torch.Tensor:
    return -vectors.logp_N * vectors.advantage_N


@pytest.fixture(scope="module")
def root(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """p/one was rewound after its third step and trained on; p/two is its fork; p/taught learned from answers."""
    folder = tmp_path_factory.mktemp("root")

    def model(name: str) -> art.TrainableModel:
        return art.TrainableModel(name=name, project="p", base_model=str(small_model), lora=LORA)

    async def body() -> None:
        async with LocalBackend(path=folder, seed=3) as backend:
            one = model("one")
            await one.register(backend)
            apart = digits.TRAIN.with_settings({"max_divergence": None})
            held_back = apart.with_settings({"beta": 0.1, "kl_reference": -1, "minibatches": 2, "epochs": 2})
            await digits.train(one, 3, held_back)
            await backend._experimental_fork_checkpoint(one, from_model="one", not_after_step=2)
            groups = await digits.gather(one)
            groups[0].trajectories[0].reward = float("nan")
            await one.train(groups, apart.with_settings({"micro_batch_tokens": "auto"}))
            await one.train(await digits.gather(one), apart.with_settings({"loss": of_the_script}))
            two = model("two")
            await backend._experimental_fork_checkpoint(two, from_model="one", not_after_step=2, reset=["optimizer"])
            await two.register(backend)
            await digits.train(two, 1, apart)
            taught = model("taught")
            await taught.register(backend)
            await taught.train_sft([art.Trajectory(messages_and_choices=[*LESSON]) for _ in range(4)])
            spelled = model("spelled")
            spelled._internal_config = {"chat_template": TEMPLATE, "chat_template_kwargs": {"tone": "plain"}}  # type: ignore[typeddict-unknown-key]
            await spelled.register(backend)
            await spelled.train_sft([art.Trajectory(messages_and_choices=[*LESSON]) for _ in range(4)])

    asyncio.run(body())
    return folder


def again(root: Path, ref: art.CheckpointRef, folder: Path, *, base_model: Path | None = None) -> Replay:
    """Take a step again in this process."""
    folder.mkdir()
    return replay(CheckpointStore(root), ref, folder, take_again=take, base_model=base_model and str(base_model))


@pytest.mark.parametrize("ref", [ONE.at(1), ONE.at(2), ONE.at(3), TWO.at(3), TAUGHT.at(1), SPELLED.at(1)], ids=str)
def test_a_recorded_step_is_taken_again_bit_for_bit(root: Path, tmp_path: Path, ref: art.CheckpointRef):
    found = again(root, ref, tmp_path / "again")

    assert (found.outcome, found.first_difference, found.missing, found.changed) == (ReplayOutcome.SAME, None, (), ())
    assert [stage.name for stage in found.stages] == STAGES
    assert all(stage.is_same for stage in found.stages)


def test_a_step_that_a_rewind_took_back_is_not_mixed_with_the_one_that_came_after(root: Path):
    lines = list(HistoryStore(root).read_trajectories(ONE, 2, split="train"))

    assert len(lines) == 2 * len(digits.PROMPTS)


def test_a_fork_is_compared_with_its_source(root: Path, tmp_path: Path):
    found = again(root, TWO.at(2), tmp_path / "again")

    assert (found.outcome, found.way) == (ReplayOutcome.SAME, Way.FORKED)
    assert "optimizer.safetensors" not in [stage.name for stage in found.stages]


def test_another_base_shows_in_the_log_probabilities_and_all_that_follows(
    root: Path, small_model: Path, tmp_path: Path
):
    other = shutil.copytree(small_model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = next(name for name in sorted(weights) if name.endswith("down_proj.weight"))
    weights[name][0, 0] += 1.0
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})

    found = again(root, ONE.at(2), tmp_path / "again", base_model=other)

    assert (found.outcome, found.first_difference) == (ReplayOutcome.DIFFERS, "log-probability")
    assert [stage.name for stage in found.stages if stage.is_same] == ["rendering", "advantage", "progress"]


def test_another_chat_template_shows_in_the_rendering(root: Path, small_model: Path, tmp_path: Path):
    other = shutil.copytree(small_model, tmp_path / "other")
    template = other / "chat_template.jinja"
    template.write_text(template.read_text().replace("(message.content or '')", "(message.content or '') + ' '"))

    found = again(root, TAUGHT.at(1), tmp_path / "again", base_model=other)

    assert found.first_difference == "rendering"
    assert [change.name for change in found.changed] == ["base model"]


def test_what_the_bits_depend_on_is_named_where_it_is_not_what_it_was(root: Path, tmp_path: Path):
    def elsewhere(rerun: Rerun) -> Ran:
        ran = take(rerun)
        return replace(ran, environment={**ran.environment, "threads": 64, "torch": "1.0"})

    found = replay(CheckpointStore(root), ONE.at(1), tmp_path, take_again=elsewhere)

    assert [(change.name, change.now) for change in found.changed] == [("threads", "64"), ("torch", "1.0")]


def test_everything_that_is_missing_is_said(root: Path, tmp_path: Path):
    store = CheckpointStore(shutil.copytree(root, tmp_path / "copy"))
    store.delete(store.open(ONE.at(3)))
    shutil.rmtree(store.root / "p/models/one/trajectories")

    found = again(store.root, ONE.at(4), tmp_path / "again")

    assert found.outcome is ReplayOutcome.IMPOSSIBLE
    parent, loss, lines = found.missing
    assert parent == "its parent p/one@3 was deleted, set aside or replaced"
    assert loss == "its loss of_the_script is a function of the script that trained it"
    assert lines == "there are no trajectories in p/models/one/trajectories/train/0003.jsonl"


def test_groups_that_were_changed_since_are_not_trained_on(root: Path, tmp_path: Path):
    copy = shutil.copytree(root, tmp_path / "copy")
    path = copy / "p/models/one/trajectories/train/0000.jsonl"
    path.write_text(path.read_text().replace('"reward":0.', '"reward":1.'))

    found = again(copy, ONE.at(1), tmp_path / "again")

    assert found.missing == (f"{path.relative_to(copy)} does not have the groups that the step learned from",)


def test_a_step_that_an_earlier_release_recorded_is_compared_as_far_as_it_was(root: Path, tmp_path: Path):
    store, new = CheckpointStore(root), CheckpointStore(tmp_path / "earlier")
    old = store.open(ONE.at(1))
    shutil.copytree(root / "p/models/one/trajectories", new.root / "p/models/one/trajectories")
    fields = ("base_model", "lora", "libraries", "environment", "metrics", "settings")
    with new.stage(ONE.at(1)) as stage:
        for entry in old.manifest.files:
            shutil.copy(old.path / entry.path, stage.path / entry.path)
        stage.commit(**{name: getattr(old.manifest, name) for name in fields})

    found = again(new.root, ONE.at(1), tmp_path / "again")

    assert found.outcome is ReplayOutcome.SAME
    assert [stage.name for stage in found.stages if stage.is_same is None] == STAGES[:3]


def test_a_replay_that_finds_the_same_bits_certifies_the_edge_once(root: Path, tmp_path: Path):
    store = CheckpointStore(shutil.copytree(root, tmp_path / "copy"))
    identity = store.open(ONE.at(1)).digest
    found = again(store.root, ONE.at(1), tmp_path / "again")

    certificate = certify(store, found)
    repeated = certify(store, found)

    assert certificate == repeated == certificates_of(store.root, ONE)[identity or ""]
    assert certificate.same == tuple(STAGES)
    assert store.open(ONE.at(1)).digest == identity
    (one,) = read_tree(store, [ONE])
    assert (one.certified, [one.opened[step].edge for step in (1, 2)]) == ((1,), [Edge.CERTIFIED, Edge.CONTINUES])


def test_a_fork_of_the_weights_is_never_certified(root: Path, tmp_path: Path):
    store = CheckpointStore(shutil.copytree(root, tmp_path / "copy"))

    found = again(store.root, TWO.at(2), tmp_path / "again")

    assert (found.outcome, certify(store, found)) == (ReplayOutcome.SAME, None)
    assert read_tree(store, [TWO])[0].opened[2].edge is Edge.WEIGHTS_ONLY


def test_what_differs_is_not_certified(root: Path, tmp_path: Path):
    store = CheckpointStore(shutil.copytree(root, tmp_path / "copy"))

    def elsewhere(rerun: Rerun) -> Ran:
        return replace(take(rerun), trail={"rendering": "0" * 64})

    found = replay(store, ONE.at(1), tmp_path, take_again=elsewhere)

    assert (found.first_difference, certify(store, found)) == ("rendering", None)


def test_a_certificate_is_of_one_checkpoint_and_not_of_its_step(root: Path, tmp_path: Path):
    store = CheckpointStore(shutil.copytree(root, tmp_path / "copy"))
    certify(store, again(store.root, ONE.at(3), tmp_path / "again"))
    store.restore(ONE)

    (one,) = read_tree(store, [ONE])

    assert one.opened[3].edge is Edge.CONTINUES
    assert one.certified == ()


@pytest.mark.slow
def test_the_command_takes_a_step_again_in_a_process_with_as_many_threads(root: Path):
    art_program = Path(sys.executable).with_name("art")

    done = subprocess.run(
        [art_program, "--root", root, "--json", "replay", "p/one@3"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["outcome"], document["parent"], document["way"]) == ("same", "p/one@2", "trained")
    assert document["certificate"]["checkpoint"] == document["digest"]


def test_the_command_says_what_is_missing_and_fails(root: Path):
    art_program = Path(sys.executable).with_name("art")

    done = subprocess.run(
        [art_program, "--root", root, "replay", "p/one@4"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "cannot be replayed" in done.stdout
    assert "of_the_script is a function of the script" in done.stdout
