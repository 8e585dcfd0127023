"""The update alone beside TRL's: seconds, memory, and whether the two gradients are the same.

One group of 8 on SmolLM2-135M in float32, on both sides with the same tokens, log-probabilities, advantages, adapter
(rank 8, neither A nor B zero) and loss: PPO's, a mean over all tokens, which TRL calls "dapo". The log-probabilities
are those of PEFT's model with a little noise, so that ratios lie around 1 and some are clipped. The gradients are those
of the first step, before they are clipped; the seconds those of the faster of two steps, of the clock and of the
processor. Each case is a process of its own. Needs TRL (`pip install --group bench`) and, for the longer rows, 18 GiB.
`update_beside_trl.py 24+16` takes rows of so many tokens.
"""

# What it imports lies in other folders, or is installed only for it.
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench_update import peak_gib, smollm2
from machine import print_header

PREPARED, OURS, TRL, TRL_AGAIN = "prepared", "art", "TRL", "TRL, computed again"
MEMBERS, RANK, ALPHA, MAX_NORM, NOISE, STEPS = 8, 8, 16, 1.0, 0.15, 2
GROUP, GRADIENTS = "group.json", "gradients.safetensors"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A group, and who learns from it."""

    side: str
    prompt: int
    answer: int
    folder: str
    """Where the adapter lies, and where the gradients of the first step go."""

    @property
    def gradients(self) -> Path:
        return Path(self.folder) / f"{self.side}-{GRADIENTS}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """What both sides learn from."""

    prompt: list[int]
    answers: list[list[int]]
    rewards: list[float]
    logprobs: list[list[float]]

    def advantages(self) -> list[float]:
        mean = math.fsum(self.rewards) / len(self.rewards)
        std = math.sqrt(math.fsum((reward - mean) ** 2 for reward in self.rewards) / len(self.rewards))
        return [(reward - mean) / (std + 1e-6) for reward in self.rewards]


class Clock:
    """When something began, for the clock and for the processor."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def passed(self) -> dict[str, float]:
        began, cpu_began = self._began
        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}


def prepare(case: Case) -> None:
    """Write an adapter whose A and B are drawn, and a group that was sampled with nearly this adapter."""
    draw = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(1000, 40_000) for _ in range(count)]

    folder, prompt = Path(case.folder), tokens(case.prompt)
    answers = [tokens(case.answer) for _ in range(MEMBERS)]
    write_drawn_adapter(folder)
    logprobs = [[each + draw.gauss(0, NOISE) for each in row] for row in logprobs_of_peft(folder, prompt, answers)]
    rewards = [draw.random() for _ in answers]
    group = Group(prompt=prompt, answers=answers, rewards=rewards, logprobs=logprobs)
    (folder / GROUP).write_text(json.dumps(asdict(group)))


def write_drawn_adapter(folder: Path) -> None:
    import torch

    from art.adapter.files import write_adapter
    from art.adapter.lora import TrainedAdapter
    from art.config import LoRAConfig

    lora = LoRAConfig(rank=RANK, alpha=ALPHA)
    parameters = TrainedAdapter(smollm2()[0], lora=lora, base_name="smollm2").parameters
    draw = torch.Generator().manual_seed(0)
    tensors = {name: 0.02 * torch.randn(each.shape, generator=draw) for name, each in parameters.items()}
    write_adapter(folder, tensors, lora, base_name="smollm2", fan_in_fan_out=False)


def logprobs_of_peft(folder: Path, prompt: list[int], answers: list[list[int]]) -> list[list[float]]:
    import torch
    from peft import PeftModel

    model = PeftModel.from_pretrained(smollm2()[0], str(folder)).eval()
    found: list[list[float]] = []
    for answer in answers:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0].tolist())
    return found


def measure_ours(case: Case) -> dict[str, float]:
    from safetensors.torch import save_file

    from art.config import LoRAConfig, TrainConfig
    from art.train import trainer as module
    from art.train.optimise import clip
    from art.train.trainer import Trainer

    trainer = Trainer(*smollm2(), lora=LoRAConfig(rank=RANK, alpha=ALPHA), seed=0)
    trainer.load(Path(case.folder))

    def clip_and_keep(parameters: Any, most: float) -> float:
        if not case.gradients.exists():
            save_file({name: each.grad.contiguous() for name, each in parameters.items()}, case.gradients)
        return clip(parameters, most)

    module.clip = clip_and_keep
    config = TrainConfig(loss="ppo", aggregate="token", minibatches=1, max_grad_norm=MAX_NORM)
    groups, seconds, norms = [as_trajectories(group_of(case))], [], []
    for _ in range(STEPS):
        started = Clock()
        norms.append(trainer.step(groups, config)["grad_norm"])
        seconds.append(started.passed())
    return {**min(seconds, key=itemgetter("seconds")), "peak_gib": peak_gib(), "grad_norm": norms[0]}


def group_of(case: Case) -> Group:
    return Group(**json.loads((Path(case.folder) / GROUP).read_text()))


def as_trajectories(group: Group) -> Any:
    from worlds import choice, trajectory

    from art.trajectories import TrajectoryGroup

    return TrajectoryGroup(
        trajectory(choice(answer, prompt_ids=group.prompt, logprobs=logprobs), reward=reward)
        for answer, logprobs, reward in zip(group.answers, group.logprobs, group.rewards, strict=True)
    )


def measure_trl(case: Case) -> dict[str, float]:
    """Take TRL's step: its loss, the gradient, clipped, and AdamW."""
    import torch
    from safetensors.torch import save_file

    trainer = trl_trainer(case)
    inputs, seconds, norms = trl_inputs(group_of(case)), [], []
    trainable = {name: each for name, each in trainer.model.named_parameters() if each.requires_grad}
    passes = count_passes(trainer.model)
    for _ in range(STEPS):
        started = Clock()
        trainer.compute_loss(trainer.model, inputs).backward()
        if not case.gradients.exists():
            found = {name.replace(".default.", "."): each.grad.contiguous() for name, each in trainable.items()}
            save_file(found, case.gradients)
        norms.append(torch.nn.utils.clip_grad_norm_(trainable.values(), MAX_NORM).item())
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        seconds.append(started.passed())
    # How often a layer was computed in a step: twice, where nothing but its input is kept.
    assert len(passes) == STEPS * (2 if case.side == TRL_AGAIN else 1), len(passes)
    return {**min(seconds, key=itemgetter("seconds")), "peak_gib": peak_gib(), "grad_norm": norms[0]}


def count_passes(model: Any) -> list[None]:
    """Give a list that grows by one whenever the first layer is computed, if only until its last product."""
    found: list[None] = []
    model.get_base_model().model.layers[0].mlp.register_forward_pre_hook(lambda *_: found.append(None))
    return found


def trl_trainer(case: Case) -> Any:
    from datasets import Dataset
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file
    from trl import GRPOConfig, GRPOTrainer

    module, tokenizer = smollm2()
    config = GRPOConfig(
        output_dir=f"{case.folder}/output",
        per_device_train_batch_size=MEMBERS,
        num_generations=MEMBERS,
        max_completion_length=case.answer,
        loss_type="dapo",
        beta=0.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=case.side == TRL_AGAIN,
        report_to=[],
    )
    trainer = GRPOTrainer(
        model=module,
        processing_class=tokenizer,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * MEMBERS),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    set_peft_model_state_dict(trainer.model, load_file(Path(case.folder) / "adapter_model.safetensors"))
    trainer.create_optimizer_and_scheduler(num_training_steps=STEPS)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    if config.gradient_checkpointing:
        # The trainer's own loop does that before its first step; a loss by itself keeps every layer.
        trainer.model.gradient_checkpointing_enable()
    return trainer


def trl_inputs(group: Group) -> dict[str, Any]:
    """Lay out a group as TRL does: every answer has its own copy of the prompt."""
    import torch

    prompt, answers = torch.tensor([group.prompt] * MEMBERS), torch.tensor(group.answers)
    return {
        "prompt_ids": prompt,
        "prompt_mask": torch.ones_like(prompt),
        "completion_ids": answers,
        "completion_mask": torch.ones_like(answers),
        "old_per_token_logps": torch.tensor(group.logprobs),
        "advantages": torch.tensor(group.advantages()),
        "num_items_in_batch": torch.tensor(float(answers.numel())),
    }


def farthest(ours: Path, theirs: Path) -> tuple[int, float]:
    """Give how many tensors were compared, and the largest distance of one in times of its length."""
    from safetensors.torch import load_file

    one, other = load_file(ours), load_file(theirs)
    assert one.keys() == other.keys()
    return len(one), max(float((one[name] - other[name]).norm() / other[name].norm()) for name in one)


def run(case: Case) -> dict[str, float]:
    command = [sys.executable, __file__, json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(sizes: list[tuple[int, int]]) -> None:
    print_header("The update beside TRL's")
    print("| tokens of a row | | s | CPU s | peak, GiB | TRL takes | gradient's norm | its farthest tensor from ours |")
    print("|---|---|---|---|---|---|---|---|")
    for prompt, answer in sizes:
        with tempfile.TemporaryDirectory() as folder:
            cases = [
                Case(side=side, prompt=prompt, answer=answer, folder=folder)
                for side in (PREPARED, OURS, TRL, TRL_AGAIN)
            ]
            seconds = math.nan
            run(cases[0])
            for case in cases[1:]:
                found = run(case)
                seconds = found["seconds"] if case.side == OURS else seconds
                count, distance = farthest(cases[1].gradients, case.gradients)
                print(
                    f"| {prompt} + {answer} | {case.side} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} |"
                    f" {found['peak_gib']:.2f} | {found['seconds'] / seconds:.1f} x | {found['grad_norm']:.6f} |"
                    f" {distance:.1e} of {count} |",
                    flush=True,
                )


def take(case: Case) -> dict[str, float]:
    if case.side == PREPARED:
        prepare(case)
        return {}
    return measure_ours(case) if case.side == OURS else measure_trl(case)


if __name__ == "__main__":
    argument = "".join(sys.argv[1:])
    if argument.startswith("{"):
        print(json.dumps(take(Case(**json.loads(argument)))))
    else:
        chosen = [tuple(map(int, each.split("+"))) for each in sys.argv[1:]]
        main([(prompt, answer) for prompt, answer in chosen] or [(128, 128), (512, 256)])
