"""One whole GRPO step on SmolLM2-135M, rollouts and training, beside TRL's GRPOTrainer: same model, task and machine.

4 prompts x 16 completions of at most 4 tokens, LoRA r=8 on all linear layers, fp32. Each side runs in its own process,
so that its peak memory is its own. Ours goes through the public API, over HTTP, and commits a checkpoint every step;
TRL saves nothing. Needs `pip install --group bench`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parents[1] / "examples"))

from machine import GIB, print_header

STEPS = 5
PROMPTS, COMPLETIONS, NEW_TOKENS, LEARNING_RATE = 4, 16, 4, 1e-4
SIDES = ("art", "art, deterministic", "trl")


def conversations() -> list[list[dict[str, str]]]:
    from demo import QUESTIONS

    worked = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "maybe"}]
    first = {"role": "system", "content": "Answer with one word."}
    return [[first, *worked, {"role": "user", "content": question}] for question in QUESTIONS[:PROMPTS]]


def reward(text: str) -> float:
    from demo import REWARDS

    return REWARDS.get(text.strip(" .!\n").lower(), 0.0)


def run_art(*, deterministic: bool, remote: str | None = None) -> list[dict[str, float]]:
    import art
    from art.local import LocalBackend
    from smollm2 import prepare_smollm2

    async def rollout(model: art.TrainableModel, messages: art.Messages) -> art.Trajectory:
        completion = await model.openai_client().chat.completions.create(
            model=model.name, messages=messages, max_tokens=NEW_TOKENS
        )
        choice = completion.choices[0]
        return art.Trajectory(messages_and_choices=[*messages, choice], reward=reward(choice.message.content or ""))

    async def body(root: str) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        async with LocalBackend(path=root, deterministic=deterministic, remote=remote) as backend:
            model = art.TrainableModel(name="bench", project="bench", base_model=str(prepare_smollm2()))
            await model.register(backend)
            for _ in range(STEPS + 1):
                started = time.perf_counter()
                groups = await art.gather_trajectory_groups(
                    [
                        art.TrajectoryGroup(rollout(model, messages) for _ in range(COMPLETIONS))
                        for messages in conversations()
                    ],
                    pbar_desc=None,
                )
                rolled_out = time.perf_counter()
                result = await model.train(groups, art.TrainConfig(learning_rate=LEARNING_RATE))
                ended = time.perf_counter()
                update_s = result.metrics["seconds"]
                found.append(
                    {
                        "step": ended - started,
                        "rollouts": rolled_out - started,
                        "update": update_s,
                        "save and publish": ended - rolled_out - update_s,
                    }
                )
        return found

    with tempfile.TemporaryDirectory() as root:
        return asyncio.run(body(root))


def run_trl() -> list[dict[str, float]]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from smollm2 import prepare_smollm2

    folder = str(prepare_smollm2())
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    def rewards(completions: Iterable[list[dict[str, str]]], **_: object) -> list[float]:
        return [reward(completion[0]["content"]) for completion in completions]

    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output,
            per_device_train_batch_size=PROMPTS * COMPLETIONS,
            num_generations=COMPLETIONS,
            max_completion_length=NEW_TOKENS,
            learning_rate=LEARNING_RATE,
            max_steps=STEPS + 2,
            beta=0.0,
            temperature=1.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(folder),
            reward_funcs=rewards,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": messages} for messages in conversations()] * 16),
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Clock()],
        )
        trainer.train()
    return [{"step": after - before} for before, after in itertools.pairwise(times)]


RUNS: dict[str, Callable[[], list[dict[str, float]]]] = {
    "art": lambda: run_art(deterministic=False),
    "art, deterministic": lambda: run_art(deterministic=True),
    "trl": run_trl,
}


def main() -> None:
    print_header("One GRPO step on SmolLM2-135M, beside TRL")
    found: dict[str, dict[str, float]] = {}
    for side in SIDES:
        done = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print("| | step, s | rollouts | update | save and publish | peak memory | TRL takes |")
    print("|---|---|---|---|---|---|---|")
    for side, seconds in found.items():
        parts = " | ".join(f"{seconds[part]:.2f}" if part in seconds else "" for part in PARTS[1:])
        times = found["trl"]["step"] / seconds["step"]
        memory = seconds["peak_bytes"] / GIB
        print(f"| {side} | {seconds['step']:.2f} | {parts} | {memory:.2f} GiB | {times:.1f} x |")


PARTS = ("step", "rollouts", "update", "save and publish")


def measure(side: str) -> None:
    steps = RUNS[side]()[1:]
    medians = {part: median(step[part] for step in steps) for part in PARTS if part in steps[0]}
    unit = 1 if sys.platform == "darwin" else 1024
    medians["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps(medians))


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
