"""Answers come from a vLLM server, which starts and ends with the script; training stays here.

    VLLM_PYTHON=~/vllm/bin/python .venv/bin/python examples/with_vllm.py [BASE_MODEL]

`docs/guides/vllm.md` says how that environment is made.
"""

from __future__ import annotations

import asyncio

import art
from art.local import VLLM, LocalBackend
from yes_no_maybe import base_model, evaluate, train

ROOT = "demo-out/with-vllm"
LAST_STEP = 10


async def main() -> None:
    # A rank that is no greater than needed, and short contexts, are all that a small machine asks for.
    sampler = VLLM(max_rank=8, options=("--max-model-len", "512"))
    async with LocalBackend(path=ROOT, sampler=sampler) as backend:
        model = art.TrainableModel(name="maybe", project="examples", base_model=base_model())
        await model.register(backend)
        before = await evaluate(model)
        await train(model, until=LAST_STEP, learning_rate=1e-3)
        after = await evaluate(model)
    print(f"vLLM sampled {LAST_STEP} steps: reward {before:.2f} before them, {after:.2f} after them")


if __name__ == "__main__":
    asyncio.run(main())
