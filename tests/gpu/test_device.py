"""What holds on a CPU holds on a GPU: each claim here runs on the CPU at every test, and on a card by `make gpu`."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from art.config import LoRAConfig, TrainConfig
from art.local.agreement import check_agreement
from art.names import ModelRef
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE, Version
from art.train import forward
from art.train.trainer import Trainer
from art.trajectories import SampledTokens, Trajectory, TrajectoryGroup
from small import byte_tokenizer, small_causal_lm

ROOT = Path(__file__).parents[2]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.bfloat16]
PROMPTS = ("say", "write", "give")
TOKENIZER = byte_tokenizer()
RATE = TrainConfig(learning_rate=2e-2)
NEWEST = Version(model=ModelRef("shop", "agent"), publication=0, step=0)
Bits = list[torch.Tensor]

pytestmark = pytest.mark.parametrize("device", DEVICES)


def base_on(device: str, dtype: torch.dtype, family: str = "qwen3") -> PreTrainedModel:
    return small_causal_lm(TOKENIZER, family=family).to(device, dtype).eval().requires_grad_(False)


def groups(engine: Engine, version: Version, *, seed: int, members: int = 12) -> list[TrajectoryGroup]:
    """Answers of a version to some prompts; their reward is how much of them is digits."""

    async def answers(prompt: str) -> TrajectoryGroup:
        ids = TOKENIZER(prompt)["input_ids"]
        sampling = Sampling(max_tokens=6, seed=seed, stop_ids=frozenset())
        said: dict[int, list[tuple[int, float]]] = {number: [] for number in range(members)}
        async for token in engine.submit(version, ids, sampling=sampling, n=members):
            said[token.choice].append((token.drawn.token_id, token.drawn.logprob))
        return TrajectoryGroup(rewarded(ids, tokens) for tokens in said.values())

    async def all_of_them() -> list[TrajectoryGroup]:
        return await asyncio.gather(*map(answers, PROMPTS))

    return asyncio.run(all_of_them())


def rewarded(prompt_ids: list[int], tokens: list[tuple[int, float]]) -> Trajectory:
    ids, logprobs = zip(*tokens, strict=True)
    sampled = SampledTokens(prompt_ids=tuple(prompt_ids), token_ids=ids, logprobs=logprobs, temperature=1.0)
    message = {"role": "assistant", "content": TOKENIZER.decode(ids)}
    choice = {"index": 0, "finish_reason": "length", "message": message, **sampled.as_fields()}
    digits = sum(character.isdigit() for character in message["content"])
    return Trajectory(messages_and_choices=[{"role": "user", "content": "?"}, choice], reward=digits / len(ids))


def learn(trainer: Trainer, engine: Engine, folder: Path, steps: range) -> list[float]:
    """Sample, train and publish, as a run does; gives the rewards."""
    rewards: list[float] = []
    for step in steps:
        metrics = trainer.step(groups(engine, NEWEST, seed=step), RATE)
        assert abs(metrics.get("ratio", 1.0) - 1) < 0.05
        rewards.append(metrics["reward"])
        trainer.save(folder)
        engine.publish(NEWEST, folder)
    return rewards


def bits(trainer: Trainer) -> Bits:
    return [parameter.detach().cpu().clone() for parameter in trainer._adapter.parameters.values()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt2"])
def test_our_passes_agree_with_the_models_own(device: str, dtype: torch.dtype, family: str) -> None:
    check_agreement(base_on(device, dtype, family))


def test_a_small_model_learns_to_write_digits(device: str, tmp_path: Path) -> None:
    base = base_on(device, torch.float32)
    engine = Engine(base, TOKENIZER)
    engine.publish(NEWEST, None)

    rewards = learn(Trainer(base, TOKENIZER, lora=LoRAConfig(), seed=0), engine, tmp_path, range(20))

    engine.close()
    assert rewards[0] < 0.2
    assert statistics.fmean(rewards[-3:]) > 0.7


@pytest.mark.parametrize("dtype", DTYPES)
def test_continuing_from_a_folder_gives_the_same_bits(device: str, dtype: torch.dtype, tmp_path: Path) -> None:
    base = base_on(device, dtype)
    engine = Engine(base, TOKENIZER)
    engine.publish(BASE, None)
    batches = [groups(engine, BASE, seed=seed) for seed in range(4)]
    engine.close()
    lora = LoRAConfig(dropout=0.2)
    whole, second = (Trainer(base, TOKENIZER, lora=lora, seed=0) for _ in range(2))

    for number, batch in enumerate(batches):
        whole.step(batch, RATE)
        if number == 1:
            whole.save(tmp_path)
    second.load(tmp_path)
    for batch in batches[2:]:
        second.step(batch, RATE)

    assert all(map(torch.equal, bits(whole), bits(second)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_computed_again_give_the_same_bits(
    device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_on(device, dtype)
    engine = Engine(base, TOKENIZER)
    engine.publish(BASE, None)
    batch = groups(engine, BASE, seed=0)
    engine.close()

    def stepped(limit_bytes: int) -> Bits:
        monkeypatch.setattr(forward, "usable_bytes", lambda _: limit_bytes)
        trainer = Trainer(base, TOKENIZER, lora=LoRAConfig(dropout=0.2), seed=0)
        trainer.step(batch, RATE)
        return bits(trainer)

    assert all(map(torch.equal, stepped(1 << 40), stepped(0)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_seeded_answers_do_not_depend_on_their_neighbours(device: str, dtype: torch.dtype) -> None:
    engine = Engine(base_on(device, dtype), TOKENIZER)
    engine.publish(BASE, None)

    def said(members: int) -> list[list[float]]:
        found = groups(engine, BASE, seed=3, members=members)
        return [each.messages_and_choices[-1].logprobs for group in found for each in group.trajectories[:2]]

    alone, among_many = said(2), said(20)

    engine.close()
    assert alone == among_many


def test_choosing_tokens_launches_as_much_for_64_rows_as_for_one(device: str) -> None:
    rows = {cells[0]: cells[1:] for cells in bench("launches.py", device)}

    # A row alone needs one copy less.
    assert int(rows["64"][0]) - int(rows["1"][0]) <= 1
    assert rows["1"][1] == rows["64"][1] == "0"


def test_the_benches_parts_run(device: str) -> None:
    parts = [cells[0] for cells in bench("gpu.py", "--device", device, "--tiny")]

    assert {"sampling", "update", "launches"} <= set(parts)


def bench(*command: str) -> list[list[str]]:
    """Give the cells of every line of a bench's tables."""
    script, *options = command
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
