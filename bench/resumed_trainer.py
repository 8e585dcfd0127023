"""A run of another trainer on a tiny model, as a user would write it: a case that resumed_trainers.py certifies.

`resumed_trainer.py CASE OUT RESUME [branch]`: six steps, each saved. With `branch` the run is one of `art.hf.Branch`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

from art.hf import Branch
from small import byte_tokenizer, small_causal_lm, write_small_model  # pyright: ignore[reportMissingImports]

STEPS, AT = 6, 3
PLAIN: dict[str, Any] = {
    "max_steps": STEPS, "save_steps": 1, "logging_steps": 1, "learning_rate": 1e-3, "report_to": "none",
    "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 4, "save_total_limit": None,
    "lr_scheduler_type": "cosine",
}  # fmt: skip
GRPO = {"num_generations": 4, "max_completion_length": 8, "temperature": 1.0, "beta": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Trainer": ("trainer", {}),
    "Trainer, several epochs": ("trainer", {"rows": 8}),
    "Trainer, a figure every two steps": ("trainer", {"logging_steps": 2}),
    "Trainer, a random collator": ("trainer", {"collator": "random"}),
    "SFT": ("sft", {}),
    "DPO": ("dpo", {}),
    "DPO, a synced reference": ("dpo", {"sync_ref_model": True, "ref_model_sync_steps": 2}),
    "GRPO": ("grpo", {}),
    "GRPO with KL": ("grpo", {"beta": 0.1}),
    "GRPO with LoRA": ("grpo", {"lora": True}),
    "GRPO, 2 iterations": ("grpo", {"num_iterations": 2}),
    "GRPO, 4 steps a generation": ("grpo", {"steps_per_generation": 4}),
    "GRPO, across an epoch's end": ("grpo", {"rows": 2}),
    "GRPO, a synced reference": ("grpo", {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 2}),
}


def main(case: str, out: str, resume: str, how: str = "plain") -> None:
    warnings.simplefilter("ignore")
    set_seed(7)
    kind, options = CASES[case]
    branch = Branch("bench/run", root=Path(out, "root")) if how == "branch" else None
    callbacks = [branch.callback()] if branch else []
    trainer = MADE[kind]({**PLAIN, **options, "output_dir": out}, callbacks)
    start: str | None = resume or None
    if branch:
        if start:
            branch.commit(Path(start), AT)
        start = branch.resume(trainer)
    trainer.train(resume_from_checkpoint=start)


def make_trainer(settings: dict[str, Any], callbacks: list[Any]) -> Trainer:
    rows = settings.pop("rows", 64)
    collate = random_collator if settings.pop("collator", None) else None
    ids = [[(start + place) % 250 for place in range(12)] for start in range(rows)]
    data = [{"input_ids": row, "labels": row} for row in ids]
    arguments = TrainingArguments(**settings)
    return Trainer(model(), arguments, train_dataset=data, data_collator=collate, callbacks=callbacks)


def random_collator(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["input_ids"] for row in rows])
    ids = torch.where(torch.rand(ids.shape) < 0.2, torch.zeros_like(ids), ids)
    return {"input_ids": ids, "labels": ids}


def make_sft(settings: dict[str, Any], callbacks: list[Any]) -> Trainer:
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

    data = Dataset.from_list([{"text": f"row {number} of many"} for number in range(64)])
    return SFTTrainer(
        model(), args=SFTConfig(**settings), train_dataset=data, processing_class=byte_tokenizer(), callbacks=callbacks
    )


def make_dpo(settings: dict[str, Any], callbacks: list[Any]) -> Trainer:
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from trl import DPOConfig, DPOTrainer  # pyright: ignore[reportMissingImports]

    rows = [{"prompt": f"{number}", "chosen": " good", "rejected": " bad!"} for number in range(64)]
    # From a folder, for a reference model is read from where the trained one was.
    base = str(write_small_model(Path(settings["output_dir"], "base")))
    reference = AutoModelForCausalLM.from_pretrained(base) if settings.get("sync_ref_model") else None
    return DPOTrainer(
        AutoModelForCausalLM.from_pretrained(base), reference, DPOConfig(**settings),
        train_dataset=Dataset.from_list(rows), processing_class=byte_tokenizer(), callbacks=callbacks,
    )  # fmt: skip


def make_grpo(settings: dict[str, Any], callbacks: list[Any]) -> Trainer:
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    rows, lora = settings.pop("rows", 64), settings.pop("lora", False)
    data = Dataset.from_list([{"prompt": f"count to {number}"} for number in range(rows)])
    # From a folder, for a reference model is read from where the trained one was.
    base = write_small_model(Path(settings["output_dir"], "base"))
    return GRPOTrainer(
        str(base), reward, GRPOConfig(**{**GRPO, **settings}), train_dataset=data,
        processing_class=byte_tokenizer(), callbacks=callbacks,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
    )  # fmt: skip


def reward(completions: list[str], **_: Any) -> list[float]:
    return [sum(character.isdigit() or character in "aeiou" for character in text) / 8 for text in completions]


def model() -> Any:
    return small_causal_lm(byte_tokenizer())


MADE = {"trainer": make_trainer, "sft": make_sft, "dpo": make_dpo, "grpo": make_grpo}

if __name__ == "__main__":
    main(*sys.argv[1:])
