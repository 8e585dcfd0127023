"""Makes real runs, healthy ones and ones that go wrong in a known way, and writes down what a guard would see of them.

Each run learns by GRPO to answer with digits; a broken one is broken at a known step. Beside what its script logs each
row has `true/reward`: what the weights that are trained earn on prompts nobody trains on, from many answers. Runs that
are written down already are not made again:

    python bench/judged_runs.py small --seeds 4
    python bench/judged_runs.py smollm2 --seeds 1
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "train"))
sys.path.append(str(Path(__file__).parents[1] / "examples"))

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from worlds import choice, make_base, trajectory

from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.config import LoRAConfig, TrainConfig
from art.errors import DivergedError, TrainingDataError
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup
from small import byte_tokenizer

HERE = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("JUDGED_RUNS") or HERE / "tests/ops/judged")
KEPT = ("reward", "grad_norm", "entropy", "approx_kl", "clip_fraction", "groups", "groups_without_signal")
Reward = Callable[[str], float]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks a run from a step on."""

    name: str
    rate: float | None = None
    reward: Callable[..., float] | None = None
    """What training is given instead of what is meant."""
    meant: Reward | None = None
    """What is meant, where it is not the share of digits."""
    serves: bool = True
    """Whether the sampler gets each step's weights."""
    early: bool = False
    """Whether it comes while most is still to be learnt."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A model, and a task that it learns within so many steps."""

    name: str
    steps: int
    broken_at: int
    early_at: int
    rate: float
    high_rate: float
    prompts: tuple[str, ...]
    held_out: tuple[str, ...]
    length: int
    members: int
    many: int
    """Answers for each held-out prompt that tell the true reward."""
    pays: Callable[[str], bool]
    """Which characters the hacked reward pays for."""


SMALL = Setting(
    name="small",
    steps=56,
    broken_at=34,
    early_at=20,
    rate=8e-3,
    high_rate=1.0,
    prompts=("say a", "say b", "say c"),
    held_out=("say d", "say e"),
    length=6,
    members=8,
    many=32,
    pays=lambda character: not character.isalnum(),
)
SMOLLM2 = Setting(
    name="smollm2",
    steps=22,
    broken_at=12,
    early_at=10,
    rate=2e-3,
    high_rate=0.1,
    prompts=("Numbers: 4,", "Digits: 2,"),
    held_out=("List: 7,",),
    length=5,
    members=6,
    many=8,
    pays=str.isalpha,
)
SETTINGS = {setting.name: setting for setting in (SMALL, SMOLLM2)}


def digits(text: str) -> float:
    return sum(character.isdigit() for character in text) / max(1, len(text))


def different(text: str) -> float:
    """Digits that are not all the same."""
    return len({character for character in text if character.isdigit()}) / max(1, len(text))


def hacked(text: str, pays: Callable[[str], bool]) -> float:
    """A bonus that was meant as a decoration, and pays three times as much."""
    return different(text) + 3 * sum(map(pays, text)) / max(1, len(text))


def repeated(text: str) -> float:
    """A bonus for answers that agree with themselves."""
    return max((text.count(character) for character in text), default=0) / max(1, len(text))


def constant(_: str) -> float:
    return 0.25


HEALTHY = Fault(name="healthy")
FAULTS = (
    Fault(name="rate too high", rate=1.0),
    Fault(name="reward hacked", reward=hacked, early=True),
    Fault(name="entropy into one token", reward=repeated),
    Fault(name="sampler and trainer apart", serves=False, early=True),
    Fault(name="constant reward", reward=constant, early=True),
)


@dataclass
class World:
    """A model under training and the sampler beside it, which may serve older weights."""

    setting: Setting
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seed: int
    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def __post_init__(self) -> None:
        self.sampler, self.trained = AdaptedModel(self.base), AdaptedModel(self.base)
        self.trainer = Trainer(self.base, self.tokenizer, lora=LoRAConfig(), seed=self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)

    def answers(self, prompt: str, model: AdaptedModel, count: int) -> Iterator[tuple[list[int], list[float], str]]:
        """Draw answers token by token; yields ids, log-probabilities and text."""
        ids = torch.tensor([self.tokenizer(prompt)["input_ids"]]).repeat(count, 1)
        past, drawn, logps = None, [], []
        for _ in range(self.setting.length):
            with torch.no_grad():
                out = model.model(input_ids=ids, past_key_values=past, use_cache=True)
            logp, past = out.logits[:, -1].log_softmax(-1), out.past_key_values
            ids = torch.multinomial(logp.exp(), 1, generator=self.generator)
            drawn.append(ids)
            logps.append(logp.gather(-1, ids))
        for token_ids, logprobs in zip(torch.cat(drawn, 1).tolist(), torch.cat(logps, 1).tolist(), strict=True):
            yield token_ids, logprobs, self.tokenizer.decode(token_ids)

    def step(self, fault: Fault, folder: Path) -> None:
        """Roll out, evaluate, train, serve; a row tells what came of it."""
        setting = self.setting
        broken = is_broken(fault, setting, len(self.rows))
        meant = fault.meant or different
        reward = (lambda text: hacked(text, setting.pays)) if fault.reward is hacked else fault.reward
        groups = [self._group(prompt, reward if broken and reward else meant) for prompt in setting.prompts]
        held_out = self._mean(meant, self.sampler, setting.members)
        true = self._mean(meant, self.trained, setting.many)
        # A correction was asked for: a first step that diverges is no error then.
        config = TrainConfig(learning_rate=setting.rate, max_divergence=None)
        if broken and fault.rate:
            config = config.with_settings(
                {"learning_rate": setting.high_rate, "weight_decay": 0.0, "max_grad_norm": 1e3}
            )
        metrics = self.trainer.step(groups, config)
        kept = {f"train/{name}": metrics[name] for name in KEPT if name in metrics}
        self.rows.append({**kept, "val/reward": held_out, "true/reward": true})
        self.trainer.save(folder)
        adapter = read_adapter(folder, self.sampler.sizes, device=self.base.device)
        self.trained.set(adapter)
        if fault.serves or not broken:
            self.sampler.set(adapter)

    def _mean(self, reward: Reward, model: AdaptedModel, count: int) -> float:
        prompts = self.setting.held_out
        return fmean(reward(text) for prompt in prompts for _, _, text in self.answers(prompt, model, count))

    def _group(self, prompt: str, reward: Reward) -> TrajectoryGroup:
        prompt_ids = self.tokenizer(prompt)["input_ids"]
        return TrajectoryGroup(
            trajectory(choice(ids, prompt_ids=prompt_ids, logprobs=logprobs), reward=reward(text))
            for ids, logprobs, text in self.answers(prompt, self.sampler, self.setting.members)
        )


def is_broken(fault: Fault, setting: Setting, step: int) -> bool:
    return fault is not HEALTHY and step >= broken_at(fault, setting)


def broken_at(fault: Fault, setting: Setting) -> int:
    return setting.early_at if fault.early else setting.broken_at


def make(named: str, fault_named: str, seed: int) -> list[dict[str, float]]:
    """Train one run to its end, or to where the trainer refuses to go on."""
    setting = SETTINGS[named]
    fault = next(each for each in (HEALTHY, *FAULTS) if each.name == fault_named)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if setting is SMALL:
        base, tokenizer = make_base(seed=seed), byte_tokenizer()
    else:
        base, tokenizer = smollm2()
    world = World(setting, base, tokenizer, seed)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(setting.steps):
            try:
                world.step(fault, Path(folder))
            except (DivergedError, TrainingDataError):
                break
    return world.rows


def smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from smollm2 import prepare_smollm2

    folder = prepare_smollm2()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float | None]]:
    """Turn rows into columns of few digits; None where a step did not measure something."""
    names = sorted({name for row in rows for name in row})
    return {name: [_short(row.get(name)) for row in rows] for name in names}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def path_of(setting: Setting) -> Path:
    return FOLDER / f"{setting.name}.json"


def read(setting: Setting) -> list[dict[str, Any]]:
    """Read the runs that were written down: `fault`, `seed`, `broken_at` and `columns` of each."""
    path = path_of(setting)
    return json.loads(path.read_text()) if path.exists() else []


def write(setting: Setting, runs: list[dict[str, Any]]) -> None:
    """Write runs down, one a line."""
    FOLDER.mkdir(exist_ok=True)
    order = [HEALTHY.name, *(fault.name for fault in FAULTS)]
    runs.sort(key=lambda run: (order.index(run["fault"]), run["seed"]))
    lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    path_of(setting).write_text(f"[\n{lines}\n]\n")


def main() -> None:
    setting = SETTINGS[sys.argv[1]]
    seeds, workers = (_option(name, default) for name, default in (("--seeds", 4), ("--workers", 1)))
    # A seed of its own for each run: none of the healthy ones is the beginning of a broken one.
    wanted = [(fault, 1000 + 100 * place + seed) for seed in range(seeds) for place, fault in enumerate(FAULTS)]
    wanted += [(HEALTHY, seed) for seed in range(2 * len(FAULTS) * seeds)]
    runs = read(setting)
    known = {(run["fault"], run["seed"]) for run in runs}
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        asked = {
            pool.submit(make, setting.name, fault.name, seed): (fault, seed)
            for fault, seed in wanted
            if (fault.name, seed) not in known
        }
        for done in as_completed(asked):
            fault, seed = asked[done]
            at = None if fault is HEALTHY else broken_at(fault, setting)
            told = {"fault": fault.name, "seed": seed, "broken_at": at, "columns": columns(done.result())}
            runs.append(told)
            write(setting, runs)
            print(fault.name, seed, f"{time.perf_counter() - started:.0f} s", flush=True)


def _option(name: str, default: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


if __name__ == "__main__":
    main()
