"""A model that calls tools, judged group by group, after it has learned from a teacher."""

# %%
import json
import os
import random
from dataclasses import dataclass

import weave
from litellm import acompletion

import art
from art.local import LocalBackend
from art.rewards import ruler_score_group
from art.utils import iterate_dataset
from art.utils.litellm import convert_litellm_choice_to_openai
from art.utils.logging import info, ok
from art.utils.sft import create_sft_dataset_iterator, train_sft_from_file

JUDGE = {"api_base": os.environ["JUDGE_URL"], "api_key": "key"}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "enum": [1, 2]}},
            "required": ["a"],
        },
    },
}
backend = LocalBackend()
model = art.TrainableModel(name="caller-001", project="calling", base_model="OpenPipe/Qwen3-14B-Instruct")
await model.register(backend)
info("registered")

# %%
taught = [
    art.Trajectory(messages_and_choices=[{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}])
    for _ in range(4)
]
for chunk in create_sft_dataset_iterator(taught, epochs=1, peak_lr=2e-4):
    await model.train_sft(chunk.trajectories, chunk.config)
with open("taught.jsonl", "w") as file:
    for trajectory in taught:
        file.write(json.dumps({"messages": trajectory.messages()}) + "\n")
await train_sft_from_file(
    model=model, file_path="taught.jsonl", epochs=1, batch_size=2, peak_lr=2e-4, schedule_type="cosine", verbose=True
)


# %%
@dataclass
class Task:
    what: str
    max_turns: int = 2


@weave.op()
async def rollout(model: art.Model, task: Task, debug: bool = False) -> art.Trajectory:
    trajectory = art.Trajectory(
        messages_and_choices=[],
        reward=0,
        metadata={"task": task.what},
        metrics={"done": False, "ran_out_of_turns": False},
        scenario=task,
    )
    trajectory.tools = [TOOL]
    trajectory.messages_and_choices = [{"role": "user", "content": task.what}]
    for turn in range(task.max_turns):
        async with trajectory.track_duration("llm_completion"):
            response = await acompletion(
                model=f"hosted_vllm/{model.name}",
                base_url=model.inference_base_url,
                api_key=model.inference_api_key,
                messages=trajectory.messages(),
                tools=[TOOL],
                tool_choice="required",
                max_tokens=60,
                caching=False,
            )
        choice = convert_litellm_choice_to_openai(response.choices[0])
        trajectory.messages_and_choices.append(choice)
        for call in choice.message.tool_calls or []:
            told = {"role": "tool", "tool_call_id": call.id, "content": call.function.arguments}
            trajectory.messages_and_choices.append(told)
            trajectory.log(f"called {call.function.name}")
    trajectory.metrics["num_turns"] = turn + 1
    return trajectory.finish()


# %%
await model.register(backend)
tasks = [Task("Add 1."), Task("Add 2.")]
for batch in iterate_dataset(tasks, groups_per_step=2, num_epochs=3, initial_step=await model.get_step()):
    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, task, False) for _ in range(2)) for task in batch.items),
        pbar_desc=f"step {batch.step}",
    )
    judged = []
    for group in groups:
        judged.append(
            await ruler_score_group(
                group, judge_model="openai/judge", extra_litellm_params=JUDGE, debug=True, swallow_exceptions=True
            )
        )
    await model.train(judged, config=art.TrainConfig(learning_rate=1e-5))
ok(f"step {batch.step}, epoch {batch.epoch}, {len(batch.items)} items")
result = await rollout(model, random.choice(tasks))
print("reached", await model.get_step(), sorted(result.metrics))
