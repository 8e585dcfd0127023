"""An agent that searches a mailbox in SQLite: trajectories with a field more, typed tools, two judges."""

# %%
import json
import os
import sqlite3
from dataclasses import asdict, dataclass
from textwrap import dedent
from typing import Any

import weave
from langchain_core.utils.function_calling import convert_to_openai_tool
from litellm import acompletion
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from tenacity import retry, stop_after_attempt

import art
from art.local import LocalBackend
from art.rewards import ruler_score_group
from art.utils import iterate_dataset

JUDGE = {"api_base": os.environ["JUDGE_URL"], "api_key": "key"}
mailbox = sqlite3.connect(":memory:", check_same_thread=False)
mailbox.execute("CREATE TABLE emails (message_id TEXT PRIMARY KEY, subject TEXT, body TEXT)")
mailbox.executemany("INSERT INTO emails VALUES (?, ?, ?)", [("a", "Lunch", "at noon"), ("b", "Rent", "is due")])


# %%
class Scenario(BaseModel):
    id: int
    question: str
    answer: str
    message_ids: list[str]
    split: str = Field(default="train")


@dataclass
class SearchResult:
    message_id: str
    snippet: str


class FinalAnswer(BaseModel):
    answer: str
    source_ids: list[str]


class Judgement(BaseModel):
    reasoning: str = Field(description="Why the answer is right or not.")
    accept: bool = Field(description="Whether it is right.")


class ProjectTrajectory(art.Trajectory):
    final_answer: FinalAnswer | None = None


class MailScenario(BaseModel):
    step: int
    scenario: Scenario


# %%
def search_mail(word: str) -> list[SearchResult]:
    """Find the mails that have a word.

    Args:
        word: what to look for.
    """
    rows = mailbox.execute("SELECT message_id, body FROM emails WHERE body LIKE ?", (f"%{word}%",))
    return [SearchResult(*row) for row in rows]


def return_final_answer(answer: str, source_ids: list[str]) -> FinalAnswer:
    """Answer the question.

    Args:
        answer: the answer.
        source_ids: the mails that say so.
    """
    return FinalAnswer(answer=answer, source_ids=source_ids)


TOOLS = {tool.__name__: tool for tool in (search_mail, return_final_answer)}


@retry(stop=stop_after_attempt(3))
async def judge_correctness(scenario: Scenario, answer: str) -> Judgement:
    said = await acompletion(
        model="openai/judge",
        messages=[
            {"role": "system", "content": dedent("""Is the answer right?""")},
            {"role": "user", "content": f"{scenario.question}\n{scenario.answer}\n{answer}"},
        ],
        response_format=Judgement,
        **JUDGE,
    )
    return Judgement.model_validate_json(said.choices[0].message.content or "{}")


@weave.op
async def rollout(model: art.Model, mail: MailScenario) -> ProjectTrajectory:
    scenario = mail.scenario
    traj = ProjectTrajectory(
        reward=0.0, messages_and_choices=[], metadata={"scenario_id": scenario.id, "step": mail.step}
    )
    traj.messages_and_choices = [
        {"role": "system", "content": "Search the mailbox, then answer."},
        {"role": "user", "content": scenario.question},
    ]
    traj.tools = [convert_to_openai_tool(tool) for tool in TOOLS.values()]
    client = AsyncOpenAI(base_url=model.inference_base_url, api_key=model.inference_api_key)
    for turn in range(2):
        wanted = "return_final_answer" if turn else "search_mail"
        response = await client.chat.completions.create(
            model=model.get_inference_name(),
            temperature=1,
            messages=traj.messages(),
            tools=traj.tools,
            tool_choice={"type": "function", "function": {"name": wanted}},
            max_completion_tokens=150,
        )
        message = response.choices[0].message
        traj.messages_and_choices.append(response.choices[0])
        if not message.tool_calls:
            return traj
        try:
            for call in message.tool_calls:
                result: Any = TOOLS[call.function.name](**json.loads(call.function.arguments))
                if isinstance(result, FinalAnswer):
                    traj.final_answer = result
                    verdict = await judge_correctness(scenario, result.answer)
                    traj.metrics["correct"] = float(verdict.accept)
                    return traj
                told = json.dumps([asdict(each) for each in result])
                traj.messages_and_choices.append({"role": "tool", "tool_call_id": call.id, "content": told})
        except Exception as error:
            traj.log(f"{error}")
            return traj
    return traj


# %%
model = art.TrainableModel(name="mail-agent-001", project="mail", base_model="OpenPipe/Qwen3-14B-Instruct")
model._internal_config = art.dev.InternalModelConfig(init_args=art.dev.InitArgs(max_seq_length=1024))
backend = LocalBackend(in_process=True, path="./.art")
await model.register(backend)
assert (await judge_correctness(Scenario(id=0, question="When?", answer="noon", message_ids=["a"]), "at noon")).accept
training = [
    Scenario(id=number, question=f"When is {what}?", answer="noon", message_ids=["a"])
    for number, what in enumerate(("lunch", "rent"))
]
settings = {"groups_per_step": 1, "num_epochs": 1, "rollouts_per_group": 2, "learning_rate": 1e-5, "max_steps": 20}

# %%
for batch in iterate_dataset(
    training,
    groups_per_step=settings["groups_per_step"],
    num_epochs=settings["num_epochs"],
    initial_step=await model.get_step(),
):
    groups = []
    for scenario in batch.items:
        mail = MailScenario.model_validate({"step": batch.step, "scenario": scenario.model_dump()})
        groups.append(art.TrajectoryGroup(rollout(model, mail) for _ in range(settings["rollouts_per_group"])))
    finished = await art.gather_trajectory_groups(
        groups, pbar_desc="gather", max_exceptions=settings["rollouts_per_group"] * len(batch.items)
    )
    judged = []
    for group in finished:
        judged.append(await ruler_score_group(group, "openai/judge", extra_litellm_params=JUDGE, debug=True))
    await model.delete_checkpoints()
    await model.train(
        judged,
        config=art.TrainConfig(learning_rate=settings["learning_rate"]),
        _config={"logprob_calculation_chunk_size": 8},
    )
    if batch.step >= settings["max_steps"]:
        break

# %%
tested = await rollout(model, MailScenario(step=0, scenario=training[0]))
assert isinstance(judged[0].trajectories[0], ProjectTrajectory)
print("reached", await model.get_step(), len(tested.messages()), tested.final_answer)
