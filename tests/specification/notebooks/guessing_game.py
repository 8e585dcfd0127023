"""A game of several turns, a metric that decides which checkpoints stay, and settings of a small card."""

# %%
import os
import random
from pathlib import Path

import weave
from pydantic import BaseModel

import art
from art.local import LocalBackend
from art.utils.strip_logprobs import strip_logprobs

random.seed(42)
model = art.TrainableModel(
    name="guesser-001",
    run_name="guesser-001",
    project="guessing",
    base_model="OpenPipe/Qwen3-14B-Instruct",
)
model._internal_config = art.dev.InternalModelConfig(
    init_args=art.dev.InitArgs(max_seq_length=512),
    engine_args=art.dev.EngineArgs(enforce_eager=True, gpu_memory_utilization=0.8),
)
backend = LocalBackend(in_process=True, path="./.art")
await model.register(backend)

# %%
if os.getenv("WANDB_API_KEY"):
    weave.init(model.project, global_postprocess_output=strip_logprobs)


class Round(BaseModel):
    step: int
    secret: int


@weave.op
@art.retry(exceptions=(ConnectionError))
async def rollout(model: art.Model, game: Round) -> art.Trajectory:
    client = model.openai_client()
    trajectory = art.Trajectory(
        messages_and_choices=[{"role": "system", "content": "Guess the number."}],
        metadata={"notebook-id": "guessing", "step": game.step},
        reward=0,
    )
    for turn in range(2):
        trajectory.messages_and_choices.append({"role": "user", "content": f"Turn {turn}."})
        completion = await client.chat.completions.create(
            model=model.get_inference_name(await model.get_step()),
            messages=trajectory.messages(),
            max_completion_tokens=4,
        )
        choice = completion.choices[0]
        assert isinstance(choice.message.content, str)
        trajectory.messages_and_choices.append(choice)
        trajectory.reward += len(choice.message.content) / game.secret
    trajectory.metrics["turns"] = turn
    return trajectory


# %%
for step in range(await model.get_step(), 2):
    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, Round(step=step, secret=7)) for _ in range(3)) for _ in range(1)),
        pbar_desc="gather",
        max_exceptions=3,
    )
    result = await backend.train(model, groups, learning_rate=1e-5)
    await model.log(groups, metrics=result.metrics, step=result.step, split="train")
    await model.delete_checkpoints("train/reward")

# %%
groups = await art.gather_trajectory_groups(
    [art.TrajectoryGroup(rollout(model, Round(step=2, secret=5)) for _ in range(3))], pbar_desc="older spelling"
)
await model.delete_checkpoints()
await model.train(groups, config=art.TrainConfig(learning_rate=1e-5), _config={"logprob_calculation_chunk_size": 8})

# %%
last = await model.get_step()
assert Path(f".art/{model.project}/models/{model.name}/checkpoints/{last:04d}/adapter_model.safetensors").exists()
said = await model.openai_client().chat.completions.create(
    model=model.get_inference_name(last), messages=[{"role": "user", "content": "One more?"}], max_tokens=3
)
print("reached", last, said.choices[0].finish_reason)
groups[0]
