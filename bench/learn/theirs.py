"""TRL's side: `GRPOTrainer` with the same model, problems, batch and step. It saves nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from learn.settings import ALPHA, BETAS, HIGH, LOW, MAX_GRAD_NORM, RANK, Size
from learn.tasks import Problem, Task
from smollm2 import prepare_smollm2

Note = Callable[[dict[str, float]], None]


class Conversations:
    """Lets a model and a task's tool speak in turn, for many problems at once."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        self._task = task
        self._tokenizer = tokenizer

    def converse(self, model: Any, problems: Sequence[Problem], *, samples: bool) -> dict[str, list[Any]]:
        """Give the tokens of prompts and completions, which of them the model said, and what it said in words."""
        prompts = [self._rendered(self._task.asks(problem)) for problem in problems]
        completions: list[list[int]] = [[] for _ in problems]
        said: list[list[str]] = [[] for _ in problems]
        masks: list[list[int]] = [[] for _ in problems]
        going = list(range(len(problems)))
        for turn in range(self._task.most_turns):
            if not going:
                break
            answers = self._generate(model, [prompts[at] + completions[at] for at in going], samples=samples)
            for at, answer in zip(going, answers, strict=True):
                completions[at] += answer
                masks[at] += [1] * len(answer)
                said[at].append(self._tokenizer.decode(answer, skip_special_tokens=True))
            replies = {at: self._task.replies(said[at][-1], problems[at]) for at in going}
            going = [at for at in going if replies[at] is not None and turn + 1 < self._task.most_turns]
            for at in going:
                read = self._reply(str(replies[at]))
                completions[at] += read
                masks[at] += [0] * len(read)
        return {"prompt_ids": prompts, "completion_ids": completions, "env_mask": masks, "said": said}

    def _rendered(self, messages: list[dict[str, str]]) -> list[int]:
        return self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    def _reply(self, text: str) -> list[int]:
        written = f"\n<|im_start|>tool\n{text}<|im_end|>\n<|im_start|>assistant\n"
        return self._tokenizer.encode(written, add_special_tokens=False)

    def _generate(self, model: Any, prompts: list[list[int]], *, samples: bool) -> list[list[int]]:
        padded = self._tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        how: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if samples else {}
        with torch.no_grad():
            whole = model.generate(
                **padded, **{"do_sample": False, **how}, max_new_tokens=self._task.max_tokens, use_cache=True
            )
        end = self._tokenizer.eos_token_id
        answers = [row.tolist() for row in whole[:, padded["input_ids"].shape[1] :]]
        return [answer[: answer.index(end) + 1] if end in answer else answer for answer in answers]


class Clock(TrainerCallback):
    """Notes what each step cost and brought, and the accuracy between steps."""

    def __init__(self, note: Note, accuracy: Callable[[], float], *, size: Size) -> None:
        self._note = note
        self._accuracy = accuracy
        self._size = size
        self._began = (0.0, 0.0)
        self._spent: dict[str, float] = {}

    def on_step_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step % self._size.every == 0:
            self._note({"step": state.global_step, "accuracy": self._accuracy()})
        self._began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        wall_s, cpu_s = self._began
        self._spent = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}

    def on_log(self, _: Any, state: Any, *__: Any, logs: dict[str, float], **___: Any) -> None:
        if "reward" in logs:
            self._note({"step": state.global_step - 1, "reward": logs["reward"], **self._spent})

    def on_train_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self._note({"step": state.global_step, "accuracy": self._accuracy()})


def run(task: Task, seed: int, size: Size, note: Note) -> None:
    """Learn a task from the base model on."""
    folder = str(prepare_smollm2())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    talk = Conversations(task, tokenizer)
    _, held_out = task.problems()

    def accuracy() -> float:
        trainer.model.eval()
        problems = held_out[: size.tested]
        said = talk.converse(trainer.model, problems, samples=False)["said"]
        trainer.model.train()
        return sum(map(task.is_right, said, problems)) / len(problems)

    with tempfile.TemporaryDirectory() as output:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            processing_class=tokenizer,
            args=_config(task, seed, size, output),
            train_dataset=_problems(task, seed, size),
            peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Clock(note, accuracy, size=size)],
            **_rollouts(task, talk),
        )
        trainer.train()


def _config(task: Task, seed: int, size: Size, output: str) -> GRPOConfig:
    return GRPOConfig(
        output_dir=output, seed=seed, max_steps=size.steps, learning_rate=size.learning_rate,
        lr_scheduler_type="constant", per_device_train_batch_size=size.prompts * size.answers,
        num_generations=size.answers, max_completion_length=task.max_tokens, temperature=1.0, beta=0.0,
        loss_type="dapo", epsilon=LOW, epsilon_high=HIGH, max_grad_norm=MAX_GRAD_NORM, weight_decay=0.0,
        adam_beta1=BETAS[0], adam_beta2=BETAS[1], shuffle_dataset=False, gradient_checkpointing=False,
        use_cpu=True, bf16=False, save_strategy="no", logging_strategy="steps", logging_steps=1, report_to=[],
        disable_tqdm=True,
    )  # fmt: skip


def _problems(task: Task, seed: int, size: Size) -> Dataset:
    batches = task.batches(seed, steps=size.steps, prompts=size.prompts)
    return Dataset.from_list(
        [
            {"prompt": task.asks(problem), "left": problem.left, "right": problem.right}
            for batch in batches
            for problem in batch
        ]
    )


def _rollouts(task: Task, talk: Conversations) -> dict[str, Any]:
    """Give TRL its own generation for one turn, and ours, by its `rollout_func`, for several."""
    if task.most_turns == 1:

        def reward(completions: list[Any], left: list[int], right: list[int], **_: Any) -> list[float]:
            answers = [completion[0]["content"] for completion in completions]
            return [
                task.rewards([said], Problem(*each))
                for said, each in zip(answers, zip(left, right, strict=True), strict=True)
            ]

        return {"reward_funcs": reward}

    def reward_turns(said: list[list[str]], left: list[int], right: list[int], **_: Any) -> list[float]:
        return [
            task.rewards(turns, Problem(*each)) for turns, each in zip(said, zip(left, right, strict=True), strict=True)
        ]

    def rollout(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        asked = [prompt[-1]["content"].split(" * ") for prompt in prompts]
        problems = [Problem(int(left), int(right)) for left, right in asked]
        return {**talk.converse(trainer.model, problems, samples=True), "logprobs": None}  # type: ignore[dict-item]

    return {"reward_funcs": reward_turns, "rollout_func": rollout}
