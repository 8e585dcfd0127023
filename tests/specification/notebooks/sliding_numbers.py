"""Numbers slid together on a board until no move is left, scored by a judge as soon as a group is there."""

# %%
import os
import random
import string
import xml.etree.ElementTree as ET

import weave
from openai import LengthFinishReasonError
from pydantic import BaseModel

import art
from art.local import LocalBackend
from art.rewards import ruler_score_group
from art.utils.strip_logprobs import strip_logprobs

if os.environ.get("WANDB_API_KEY"):
    weave.init("sliding", settings={"print_call_link": False}, global_postprocess_output=strip_logprobs)

MOVES = ("left", "right", "up", "down")
JUDGE = {"api_base": os.environ["JUDGE_URL"], "api_key": "key"}


def new_game() -> dict:
    board = [[None] * 4 for _ in range(4)]
    board[0][0] = board[3][3] = 2
    return {"id": "".join(random.choices(string.ascii_letters, k=6)), "board": board}


def shown(game: dict) -> str:
    return "\n".join("|".join(str(cell or "_").rjust(3) for cell in row) for row in game["board"])


def apply(game: dict, said: str) -> None:
    move = ET.fromstring(said).text
    if move not in MOVES:
        raise ValueError(f"{move} is no move")
    game["board"] = [sorted(row, key=lambda cell: cell is None) for row in game["board"]]


def largest(game: dict) -> int:
    return max(cell for row in game["board"] for cell in row if cell)


# %%
model = art.TrainableModel(name="agent-002", project="sliding", base_model="OpenPipe/Qwen3-14B-Instruct")
model._internal_config = art.dev.InternalModelConfig(
    init_args=art.dev.InitArgs(gpu_memory_utilization=0.8),
    engine_args=art.dev.EngineArgs(enforce_eager=True, gpu_memory_utilization=0.8),
)
backend = LocalBackend(in_process=True, path="./.art")
await model.register(backend)


# %%
class Round(BaseModel):
    step: int


@art.retry(exceptions=(LengthFinishReasonError,))
@weave.op
async def rollout(model: art.Model, game_of: Round) -> art.Trajectory:
    client, game, number = model.openai_client(), new_game(), 0
    trajectory = art.Trajectory(
        messages_and_choices=[{"role": "system", "content": "Answer as <move>left</move>. Make a large number."}],
        metadata={"game_id": game["id"], "notebook-id": "sliding", "step": game_of.step},
        reward=0,
    )
    while number < 3:
        trajectory.messages_and_choices.append({"role": "user", "content": shown(game)})
        completion = await client.chat.completions.create(
            max_completion_tokens=6, messages=trajectory.messages(), model=model.name, stream=False
        )
        choice = completion.choices[0]
        content = choice.message.content
        assert isinstance(content, str)
        trajectory.messages_and_choices.append(choice)
        try:
            apply(game, content)
            number += 1
        except (ValueError, ET.ParseError):
            trajectory.reward = -1
            trajectory.metrics["invalid"] = 1
            break
    trajectory.metrics["max_value"] = largest(game)
    trajectory.metrics["num_moves"] = number
    return trajectory


# %%
async def judged(group: art.TrajectoryGroup) -> art.TrajectoryGroup | None:
    return await ruler_score_group(
        group, "openai/judge", debug=True, swallow_exceptions=True, extra_litellm_params=JUDGE
    )


for i in range(await model.get_step(), 2):
    train_groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, Round(step=i)) for _ in range(2)) for _ in range(1)),
        pbar_desc="gather",
        max_exceptions=2,
        after_each=judged,
    )
    await model.delete_checkpoints("train/reward")
    await model.train(
        train_groups, config=art.TrainConfig(learning_rate=1e-5), _config={"logprob_calculation_chunk_size": 8}
    )
assert {trajectory.metrics["ruler_score"] for trajectory in train_groups[0]} == {0.25, 0.75}

# %%
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

step = await model.get_step()
folder = f"./.art/{model.project}/models/{model.name}/checkpoints/{step:04d}"
tokenizer = AutoTokenizer.from_pretrained(model.base_model)
peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model.base_model), folder)
messages = train_groups[0].trajectories[0].messages()[:2]
inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", add_generation_prompt=True, return_dict=True)
output = peft.generate(**inputs, max_new_tokens=4)
print("reached", step, output.shape[1] - inputs["input_ids"].shape[1])
