"""A user's script: `buffered.py NAME ROOT OUT STEPS [without]`, a Trainer that keeps what its checkpoints lack.

Like TRL's it trains on batches that it drew some steps ago, draws its data with a generator of its own, and averages
figures between two logs. `without` does not show it to the branch.
"""

import sys
from collections import defaultdict
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from art.hf import Branch

ROWS, EVERY = 8, 4


class OwnOrder(Sampler[int]):
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        return iter(torch.randperm(ROWS, generator=self.generator).tolist())

    def __len__(self) -> int:
        return ROWS


class Buffered(Trainer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._step = 0
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._metrics = {"train": defaultdict[str, list[float]](list)}

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return OwnOrder()

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self._step % EVERY == 0 or self._buffered_inputs is None:
            ids = inputs["input_ids"]
            drawn = [torch.where(torch.rand(ids.shape) < 0.5, ids, 63 - ids) for _ in range(EVERY)]
            self._buffered_inputs = [{"input_ids": drawing, "labels": drawing, "use_cache": False} for drawing in drawn]
        return self._buffered_inputs[self._step % EVERY]

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **options)
        self._step += 1
        self._metrics["train"]["passes"].append(float(self._step))
        return loss

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        passes = self._metrics["train"].pop("passes", [])
        super().log({**logs, **({"passes": sum(passes) / len(passes)} if passes else {})}, *arguments, **options)


def main(name: str, root: str, out: str, steps: str, how: str = "with") -> None:
    set_seed(7)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        attention_dropout=0.3,
    )  # fmt: skip
    ids = [[(start + place) % 61 for place in range(12)] for start in range(ROWS)]
    settings = TrainingArguments(
        output_dir=out, max_steps=int(steps), save_steps=3, logging_steps=2, per_device_train_batch_size=4,
        learning_rate=1e-2, lr_scheduler_type="constant", report_to="none", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    branch = Branch(name, root=root)
    rows = [{"input_ids": row, "labels": row} for row in ids]
    trainer = Buffered(LlamaForCausalLM(config), settings, train_dataset=rows, callbacks=[branch.callback()])
    trainer.train(resume_from_checkpoint=branch.resume(trainer if how == "with" else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
