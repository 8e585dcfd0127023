"""The tool that an agent ends its task with."""

from art.mcp.types import MCPTool

complete_task_tool = MCPTool(
    name="complete_task",
    description="End the task, with a summary of what was done.",
    parameters={
        "type": "object",
        "properties": {"summary": {"type": "string", "description": "What was done, and what came of it."}},
        "required": ["summary"],
    },
)
