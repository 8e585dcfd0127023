"""Scenarios that a model makes up for a real MCP server's tools, and an agent that learns to use them."""

# %%
import json
import os
import random
import socket
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import mcp
import mcp.types as types
import uvicorn
import weave
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from openai import AsyncOpenAI

import art
from art.local import LocalBackend
from art.mcp import MCPResource, MCPTool, complete_task_tool, generate_scenarios
from art.rewards import ruler_score_group
from art.utils import iterate_dataset

random.seed(42)
server = MCPServer("sums")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.resource("sums://known")
def known() -> str:
    """Give sums that are known."""
    return "1 + 1 = 2"


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
web = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), port=PORT, log_level="error"))
threading.Thread(target=web.run, daemon=True).start()
while not web.started:
    time.sleep(0.05)


# %%
@asynccontextmanager
async def session_of_server():
    async with streamable_http_client(f"http://127.0.0.1:{PORT}/mcp") as (read, write):
        async with mcp.ClientSession(read, write) as session:
            await session.initialize()
            yield session


async def call_tool(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    async with session_of_server() as session:
        return await session.call_tool(name, arguments)


async with session_of_server() as session:
    tools, resources = await session.list_tools(), await session.list_resources()
collection = await generate_scenarios(
    tools=[MCPTool(tool.name, tool.description or "", tool.input_schema) for tool in tools.tools],
    resources=[
        MCPResource(uri=str(each.uri), name=each.name, description=each.description or "", mime_type=each.mime_type)
        for each in resources.resources
    ],
    num_scenarios=4,
    generator_model="judge",
    generator_api_key="key",
    generator_base_url=os.environ["JUDGE_URL"],
)
scenarios = collection.to_dicts()
random.shuffle(scenarios)
train_scenarios, test_scenarios = scenarios[:3], scenarios[3:]
SCHEMAS = [
    {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
    }
    for tool in tools.tools
] + [complete_task_tool.to_tool_schema()]


# %%
@dataclass
class Scenario:
    task: str
    max_turns: int = 2


@weave.op()
async def rollout(model: art.Model, scenario: Scenario, debug: bool = False) -> art.Trajectory:
    traj = art.Trajectory(
        messages_and_choices=[],
        reward=0,
        metadata={"task": scenario.task, "mcp_server": "sums"},
        metrics={"task_completed": False, "success": False, "ran_out_of_turns": False},
        scenario=scenario,
    )
    traj.tools = SCHEMAS
    traj.messages_and_choices = [
        {"role": "system", "content": "Use the tools, then complete the task."},
        {"role": "user", "content": f"Please complete this task: {scenario.task}"},
    ]
    turn, called = 0, 0
    while turn < scenario.max_turns and not traj.metrics["task_completed"]:
        turn += 1
        async with traj.track_duration("llm_completion"):
            client = AsyncOpenAI(api_key=model.inference_api_key, base_url=model.inference_base_url)
            response = await client.chat.completions.create(
                model=model.get_inference_name(),
                messages=traj.messages(),
                tools=SCHEMAS,
                tool_choice={"type": "function", "function": {"name": "add"}},
                max_completion_tokens=120,
            )
        choice = response.choices[0]
        traj.messages_and_choices.append(choice)
        if not choice.message.tool_calls:
            break
        for call in choice.message.tool_calls:
            try:
                arguments = json.loads(call.function.arguments)
                if call.function.name == "complete_task":
                    traj.metrics["task_completed"] = True
                    continue
                async with traj.track_duration("tool_call"):
                    result = await call_tool(call.function.name, arguments)
                text = result.content[0].text if result.content else ""
                called += not result.is_error
            except Exception as error:
                text = f"Error: {error}"
                traj.log(text)
            traj.messages_and_choices.append({"role": "tool", "tool_call_id": call.id, "content": text})
    traj.metrics["ran_out_of_turns"] = turn == scenario.max_turns
    traj.metrics["num_turns"] = turn
    traj.metrics["called"] = called
    return traj.finish()


# %%
model = art.TrainableModel(name="mcp-1", project="mcp-agents", base_model="OpenPipe/Qwen3-14B-Instruct")
backend = LocalBackend()
await model.register(backend)
iterator = iterate_dataset(
    train_scenarios, groups_per_step=2, num_epochs=1, initial_step=await model.get_step(), use_tqdm=False
)
for batch in iterator:
    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, Scenario(each["task"]), False) for _ in range(2)) for each in batch.items),
        pbar_desc=f"train gather step {batch.step}",
    )
    scored = []
    for group in groups:
        scored.append(
            await ruler_score_group(
                group,
                judge_model="openai/judge",
                debug=True,
                swallow_exceptions=True,
                extra_litellm_params={"api_base": os.environ["JUDGE_URL"], "api_key": "key"},
            )
        )
    result = await backend.train(model, scored, learning_rate=1e-5)
    await model.log(scored, metrics=result.metrics, step=result.step, split="train")

# %%
for number, scenario in enumerate(test_scenarios):
    tried = await rollout(model, Scenario(scenario["task"], max_turns=1))
    for message in tried.messages():
        print(number, message["role"], message.get("tool_calls") or message["content"])
durations = sorted(name for name in tried.metrics if name.endswith("duration"))
print("reached", await model.get_step(), durations, type(tried.metrics["called"]).__name__)
