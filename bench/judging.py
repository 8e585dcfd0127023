"""Real runs of the small model, healthy ones and ones that go wrong in a known way, judged step by step.

Each run learns by GRPO to answer with digits; a broken one is broken at a known step. `judge` is asked after every
step, as a guard would ask. The table goes into docs/design/judging.md:

    python bench/judging.py --write
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

sys.path.append(str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "train"))

import torch
from worlds import choice, make_base, trajectory

from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.config import LoRAConfig, TrainConfig
from art.ops.judge import Judgement, judge
from art.ops.series import Row, Series
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup
from small import byte_tokenizer

HERE = Path(__file__).parents[1]
STEPS, BROKEN_AT, LENGTH, MEMBERS = 24, 7, 6, 8
PROMPTS, HELD_OUT = ("say", "write", "give"), ("tell", "put")
GOOD_RATE = 2e-2
PAGE = HERE / "docs/design/judging.md"
BEGIN, END = "<!-- bench/judging.py writes from here -->\n", "<!-- to here -->\n"
KEPT = ("reward", "grad_norm", "entropy", "approx_kl", "clip_fraction", "groups", "groups_without_signal")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks a run from a step on."""

    name: str
    rate: float = GOOD_RATE
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    reward: Callable[[str], float] | None = None
    """What training is given instead of what is meant."""
    meant: Callable[[str], float] | None = None
    """What is meant, where it is not the share of digits."""
    serves: bool = True
    """Whether the sampler gets each step's weights."""
    at: int = BROKEN_AT


def digits(text: str) -> float:
    return sum(character.isdigit() for character in text) / LENGTH


def hacked(text: str) -> float:
    """A bonus that was meant as a decoration, and pays three times as much."""
    return digits(text) + 3 * sum(not character.isalnum() for character in text) / LENGTH


def constant(_: str) -> float:
    return 0.25


def different(text: str) -> float:
    """What is meant: digits that are not all the same."""
    return len({character for character in text if character.isdigit()}) / LENGTH


HEALTHY = Fault(name="healthy", at=STEPS)
FAULTS = (
    Fault(name="rate too high", rate=1.0, weight_decay=0.0, max_grad_norm=1e3),
    Fault(name="reward hacked", reward=hacked),
    Fault(name="entropy into one token", rate=5e-2, meant=different, reward=digits),
    Fault(name="sampler and trainer apart", serves=False),
    Fault(name="constant reward", reward=constant),
)


@dataclass
class World:
    """A model under training and the sampler beside it, which may serve older weights."""

    seed: int
    rows: list[Row] = field(default_factory=list[Row])

    def __post_init__(self) -> None:
        self.tokenizer = byte_tokenizer()
        base = make_base(seed=self.seed)
        self.sampler = AdaptedModel(base)
        self.trainer = Trainer(base, self.tokenizer, lora=LoRAConfig(), seed=self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.device = base.device

    def answers(self, prompt: str) -> Iterator[tuple[list[int], list[float], str]]:
        """Draw answers token by token; yields ids, log-probabilities and text."""
        prompt_ids = self.tokenizer(prompt)["input_ids"]
        ids = torch.tensor([prompt_ids]).repeat(MEMBERS, 1)
        logps: list[torch.Tensor] = []
        for _ in range(LENGTH):
            with torch.no_grad():
                logp = self.sampler.model(input_ids=ids).logits[:, -1].log_softmax(-1)
            drawn = torch.multinomial(logp.exp(), 1, generator=self.generator)
            logps.append(logp.gather(-1, drawn))
            ids = torch.cat([ids, drawn], dim=1)
        said = ids[:, len(prompt_ids) :].tolist()
        for token_ids, logprobs in zip(said, torch.cat(logps, dim=1).tolist(), strict=True):
            yield token_ids, logprobs, self.tokenizer.decode(token_ids)

    def step(self, fault: Fault, folder: Path) -> None:
        """Roll out, evaluate, train, serve; a row tells what came of it."""
        at = len(self.rows)
        broken = at >= fault.at
        meant = fault.meant or digits
        reward = fault.reward if broken and fault.reward else meant
        groups = [self._group(prompt, reward) for prompt in PROMPTS]
        held_out = [meant(text) for prompt in HELD_OUT for _, _, text in self.answers(prompt)]
        # A correction was asked for: a first step that diverges is no error then.
        config = TrainConfig(learning_rate=GOOD_RATE, max_divergence=None)
        if broken:
            named = ("weight_decay", "max_grad_norm")
            changed = {"learning_rate": fault.rate, **{name: getattr(fault, name) for name in named}}
            config = config.with_settings(changed)
        metrics = self.trainer.step(groups, config)
        kept = {f"train/{name}": round(metrics[name], 5) for name in KEPT if name in metrics}
        self.rows.append(Row(at, "", {**kept, "val/reward": round(fmean(held_out), 5)}))
        if fault.serves or not broken:
            self.trainer.save(folder)
            self.sampler.set(read_adapter(folder, self.sampler.sizes, device=self.device))

    def _group(self, prompt: str, reward: Callable[[str], float]) -> TrajectoryGroup:
        prompt_ids = self.tokenizer(prompt)["input_ids"]
        return TrajectoryGroup(
            trajectory(choice(ids, prompt_ids=prompt_ids, logprobs=logprobs), reward=reward(text))
            for ids, logprobs, text in self.answers(prompt)
        )


def run(fault: Fault, seed: int) -> list[Row]:
    """Train one run to its end, or to where the trainer refuses to go on."""
    from art.errors import DivergedError, TrainingDataError

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    world = World(seed)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(STEPS):
            try:
                world.step(fault, Path(folder))
            except (DivergedError, TrainingDataError):
                break
    return world.rows


def first_alarm(rows: list[Row]) -> tuple[int, Judgement] | None:
    """Give the step after which the run is called wrong for the first time, as a guard would find it."""
    for end in range(1, len(rows) + 1):
        found = judge(Series(tuple(rows[:end])))
        if found.is_alarm:
            return rows[end - 1].step, found
    return None


def table(runs: dict[str, list[list[Row]]]) -> str:
    """Write one line for each kind of run."""
    heads = ("run", "runs", "held-out, best → end", "apart at the end", "called wrong", "as", "onset", "found")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for fault in (HEALTHY, *FAULTS):
        each = runs[fault.name]
        found = [alarm for rows in each if (alarm := first_alarm(rows))]
        states = ", ".join(sorted({str(judged.state) for _, judged in found})) or "–"
        cells = (
            fault.name,
            str(len(each)),
            ", ".join(map(held_out, each)) if fault is not HEALTHY else "–",
            f"{max(apart(rows) for rows in each):.2f}",
            str(len(found)),
            states,
            spread([(judged.onset or 0) - fault.at for _, judged in found]),
            spread([step - fault.at for step, _ in found]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def held_out(rows: list[Row]) -> str:
    """Give the best held-out reward and the mean of the last three: whether a run really went wrong."""
    values = [row.metrics["val/reward"] for row in rows]
    return f"{max(values):.2f} → {fmean(values[-3:]):.2f}"


def apart(rows: list[Row]) -> float:
    """Give how many nats a token the trainer was from the sampler when that was measured last."""
    return next((row.metrics["train/approx_kl"] for row in reversed(rows) if "train/approx_kl" in row.metrics), 0.0)


def spread(numbers: list[int]) -> str:
    return "–" if not numbers else f"{min(numbers)} to {max(numbers)} steps"


def write(runs: dict[str, list[list[Row]]]) -> None:
    """Write the table into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(runs)}\n{END}{rest.split(END)[1]}")


def _option(name: str, default: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


def main() -> None:
    seeds, workers = (_option(name, default) for name, default in (("--seeds", 4), ("--workers", 2)))
    # A seed of its own for each run: none of the healthy ones is the beginning of a broken one.
    wanted = [(fault, 1000 + seed) for seed in range(seeds) for fault in FAULTS]
    wanted += [(HEALTHY, seed) for seed in range(2 * len(FAULTS) * seeds)]
    runs: dict[str, list[list[Row]]] = {fault.name: [] for fault in (HEALTHY, *FAULTS)}
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for (fault, seed), rows in zip(wanted, pool.map(run, *zip(*wanted, strict=True)), strict=True):
            runs[fault.name].append(rows)
            print(fault.name, seed, f"{time.perf_counter() - started:.0f} s", first_alarm(rows), flush=True)
    print(table(runs))
    if "--write" in sys.argv:
        write(runs)


if __name__ == "__main__":
    main()
