"""An agent with a tool: over several turns it asks a calculator, reads the result, and answers.

    .venv/bin/python examples/calculator_agent.py [BASE_MODEL]

The model writes `calculate(17 * 23)` as plain text, because SmolLM2's chat template has no place for tools; with a
model whose template has one, pass `tools=` to the completion and read `choice.message.tool_calls`. All of its turns are
trained on, exactly as they were sampled; questions, worked turns and results are only read.
"""

from __future__ import annotations

import asyncio
import operator
import re
from dataclasses import dataclass

import art
from art.local import LocalBackend
from yes_no_maybe import base_model

ROOT = "demo-out/calculator"
STEPS, ROLLOUTS, MOST_TURNS = 5, 6, 3
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
CALL = re.compile(r"calculate\((\d{1,9}) ([-+*]) (\d{1,9})\)")
WORKED: art.Messages = [
    {"role": "system", "content": "Never calculate yourself: write calculate(...), read the result, then say it."},
    {"role": "user", "content": "What is 12 + 30?"},
    {"role": "assistant", "content": "calculate(12 + 30)"},
    {"role": "tool", "tool_call_id": "worked", "content": "42"},
    {"role": "assistant", "content": "The answer is 42."},
]


@dataclass(frozen=True)
class Sum:
    """Two numbers and a sign."""

    left: int
    sign: str
    right: int

    @property
    def result(self) -> int:
        return OPERATIONS[self.sign](self.left, self.right)


TRAINING = [Sum(17, "*", 23), Sum(348, "+", 277), Sum(91, "*", 14), Sum(805, "-", 388)]
UNSEEN = [Sum(19, "*", 31), Sum(512, "+", 289), Sum(930, "-", 471)]


async def rollout(model: art.TrainableModel, wanted: Sum) -> art.Trajectory:
    """Let the agent talk with the calculator; a call is worth 0.25, the right one as much again, the answer 0.5."""
    question = f"What is {wanted.left} {wanted.sign} {wanted.right}?"
    trajectory = art.Trajectory(messages_and_choices=[*WORKED, {"role": "user", "content": question}])
    calls: list[Sum] = []
    text = ""
    for turn in range(MOST_TURNS):
        completion = await model.openai_client().chat.completions.create(
            model=model.get_inference_name(), messages=trajectory.messages(), max_completion_tokens=16
        )
        trajectory.messages_and_choices.append(completion.choices[0])
        text = completion.choices[0].message.content or ""
        call = CALL.search(text)
        if call is None:
            break
        calls.append(Sum(int(call[1]), call[2], int(call[3])))
        result = str(calls[-1].result)
        trajectory.messages_and_choices.append({"role": "tool", "tool_call_id": f"call-{turn}", "content": result})
    answered = bool(calls) and re.search(rf"\b{wanted.result}\b", text) is not None
    trajectory.metrics |= {"called": bool(calls), "called_right": wanted in calls, "answered": answered}
    trajectory.reward = 0.25 * bool(calls) + 0.25 * (wanted in calls) + 0.5 * answered
    return trajectory


async def gather(model: art.TrainableModel, sums: list[Sum]) -> list[art.TrajectoryGroup]:
    return await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, wanted) for _ in range(ROLLOUTS)) for wanted in sums), pbar_desc=None
    )


async def evaluate(model: art.TrainableModel) -> float:
    """Give the mean reward on sums that are never trained on."""
    groups = await gather(model, UNSEEN)
    await model.log(groups, split="val")
    return sum(trajectory.reward for group in groups for trajectory in group) / (len(UNSEEN) * ROLLOUTS)


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        model = art.TrainableModel(name="calculator", project="examples", base_model=base_model())
        await model.register(backend)
        before = await evaluate(model)
        for step in range(await model.get_step(), STEPS):
            groups = await gather(model, TRAINING)
            result = await model.train(groups, art.TrainConfig(learning_rate=1e-3, loss="ppo", epsilon_high=0.28))
            shares = [
                f"{name} {sum(t.metrics[name] for group in groups for t in group) / (len(TRAINING) * ROLLOUTS):4.0%}"
                for name in ("called", "called_right", "answered")
            ]
            print(f"step {step}: reward {result.metrics['reward']:.2f}, {', '.join(shares)}", flush=True)
        print(f"On sums it never saw: reward {before:.2f} before, {await evaluate(model):.2f} after")


if __name__ == "__main__":
    asyncio.run(main())
