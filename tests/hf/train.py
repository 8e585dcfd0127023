"""A user's script: `train.py NAME ROOT OUT STEPS [afresh]`, a few steps of a Trainer on a tiny model with dropout."""

import sys
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from art.hf import Branch


class Rows(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(index, index + 12) % 61
        return {"input_ids": ids, "labels": ids}


def main(name: str, root: str, out: str, steps: str, how: str = "resume") -> None:
    set_seed(7)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        attention_dropout=0.3,
    )  # fmt: skip
    branch = Branch(name, root=root)
    settings = TrainingArguments(
        output_dir=out, max_steps=int(steps), save_steps=3, logging_steps=1, per_device_train_batch_size=4,
        learning_rate=1e-2, lr_scheduler_type="constant", save_total_limit=1, report_to="none", use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(LlamaForCausalLM(config), settings, train_dataset=Rows(), callbacks=[branch.callback()])
    trainer.train(resume_from_checkpoint=branch.resume() if how == "resume" else None)
    Path(out, "finished").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
