"""An agent's tools, asked by the protocol's own client: over a server in memory, and once over a real process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from art.errors import ConfigurationError, StorageError
from art.names import CheckpointRef, ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.tools.experiments import PERMISSIONS, Experiments
from art.tools.ledger import Ledger
from art.tools.server import make_server
from store.conftest import tree
from ui.story import STORY, tell, write_checkpoint


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """A root with a healthy run, one that collapsed, and what was forked from it."""
    tell(
        tmp_path / "root",
        story=tuple(branch for branch in STORY if branch.name in ("agent-001", "agent-002", "agent-004")),
    )
    return CheckpointStore(tmp_path / "root")


def ask(experiments: Experiments, tool: str, **arguments: Any) -> tuple[bool, Any]:
    """Call a tool as a client does; gives whether it failed, and its document or its words."""

    async def asked() -> tuple[bool, Any]:
        async with Client(make_server(experiments)) as client:
            result = await client.call_tool(tool, arguments)
            return bool(result.is_error), read(result)

    return asyncio.run(asked())


def read(result: CallToolResult) -> Any:
    text = result.content[0]
    assert isinstance(text, TextContent)
    return text.text if result.is_error else json.loads(text.text)


def names(experiments: Experiments) -> set[str]:
    async def listed() -> set[str]:
        async with Client(make_server(experiments)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    return asyncio.run(listed())


def test_an_agent_reads_only_unless_it_is_allowed_more(store: CheckpointStore):
    reading = names(Experiments(store))

    assert reading == {
        *("status", "tree", "history", "step", "rollouts", "compare", "data", "disk", "plan_clean_up", "verify")
    }
    changing = names(Experiments(store, allowed=PERMISSIONS)) - reading
    assert changing == {"fork", "rewind", "undo_rewind", "pin", "unpin", "clean_up"}
    assert names(Experiments(store, allowed=["pin"])) - reading == {"pin", "unpin"}
    with pytest.raises(ConfigurationError, match="delete cannot be allowed"):
        Experiments(store, allowed=["delete"])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("status", {}),
        ("tree", {}),
        ("history", {"model": "shop/agent-001"}),
        ("step", {"ref": "shop/agent-002@51"}),
        ("rollouts", {"ref": "shop/agent-002@51"}),
        ("compare", {"first": "shop/agent-002@51", "second": "shop/agent-004@75"}),
        ("data", {"ref": "shop/agent-004@75"}),
        ("disk", {}),
        ("plan_clean_up", {"keep": "newest:1"}),
        ("verify", {"ref": "shop/agent-002@51"}),
    ],
)
def test_reading_changes_nothing(store: CheckpointStore, tool: str, arguments: dict[str, Any]):
    before = tree(store.root)

    failed, document = ask(Experiments(store), tool, **arguments)

    assert (failed, bool(document)) == (False, True)
    assert tree(store.root) == before


def test_an_agent_forks_where_status_says_and_the_same_fork_again_is_free(store: CheckpointStore):
    experiments = Experiments(store, allowed=["fork"], max_forks=1)
    alert = ask(experiments, "status")[1]["alerts"][0]
    source = f"{alert['project']}/{alert['model']}@{alert['last_good']}"

    first = ask(experiments, "fork", source=source, destination="shop/retry")
    second = ask(experiments, "fork", source=source, destination="shop/retry")
    third = ask(experiments, "fork", source=source, destination="shop/another")

    document = {"ref": f"shop/retry@{alert['last_good']}", "source": source, "copied_bytes": 0}
    assert first == (False, {**document, "repeated": False, "forks_left": 0})
    assert (second[0], second[1]["repeated"]) == (False, True)
    assert (third[0], "budget of 1 forks is spent" in third[1]) == (True, True)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        (
            "fork",
            {"source": "shop/agent-001@5", "destination": "shop/agent-002"},
            "Choose another destination, or go on",
        ),
        (
            "fork",
            {"source": "shop/agent-001", "destination": "shop/x", "best": "val/zork"},
            "write val/zork:min or val/zork:max",
        ),
        ("plan_clean_up", {"keep": "best:val/zork"}, "write best:val/zork:min or best:val/zork:max"),
        ("fork", {"source": "shop/agent-001@5", "destination": "shop/agent-001"}, "would be rewound"),
        (
            "fork",
            {"source": "shop/agent-001@5", "destination": "shop/x", "best": "val/reward"},
            "leave two of them out",
        ),
        ("fork", {"source": "shop/nobody", "destination": "shop/x"}, "no model shop/nobody"),
        ("rewind", {"ref": "shop/agent-001@9999"}, "9999"),
        ("step", {"ref": "agent-001"}, "agent-001"),
        ("history", {"model": "../../etc"}, ".."),
        (
            "fork",
            {"source": "shop/agent-001@24", "destination": "shop/again"},
            "shop/agent-002 began with the same checkpoint",
        ),
        ("clean_up", {"keep": "everything"}, "is no policy"),
        ("pin", {"ref": "shop/agent-001@9999"}, "9999"),
    ],
)
def test_what_cannot_be_is_said_to_the_agent_and_changes_nothing(
    store: CheckpointStore, tool: str, arguments: dict[str, Any], said: str
):
    before = tree(store.root)

    failed, words = ask(Experiments(store, allowed=PERMISSIONS), tool, **arguments)

    assert (failed, said in words) == (True, True), words
    assert tree(store.root) == before


def test_a_rewind_is_undone_and_a_pin_is_taken_out(store: CheckpointStore):
    experiments = Experiments(store, allowed=PERMISSIONS)
    steps = store.steps(next(model for model in store.models() if model.name == "agent-001"))

    rewound = ask(experiments, "rewind", ref=f"shop/agent-001@{steps[0]}")[1]
    undone = ask(experiments, "undo_rewind", model="shop/agent-001")[1]
    pinned = ask(experiments, "pin", ref=f"shop/agent-001@{steps[0]}")[1]
    unpinned = ask(experiments, "unpin", ref=f"shop/agent-001@{steps[0]}")[1]

    assert rewound == {"newest": f"shop/agent-001@{steps[0]}", "set_aside": steps[1:]}
    assert undone == {"newest": f"shop/agent-001@{steps[-1]}", "brought_back": steps[1:]}
    assert (pinned["pinned"], unpinned["pinned"]) == (True, False)


def test_a_budget_and_a_setting_hold_when_the_server_is_started_again(store: CheckpointStore):
    fork = {"source": "shop/agent-002@50", "settings": {"learning_rate": 2e-5}}
    first = ask(Experiments(store, allowed=["fork"], max_forks=2), "fork", destination="shop/low", **fork)
    again = ask(Experiments(store, allowed=["fork"], max_forks=2), "fork", destination="shop/low", **fork)
    twin = ask(Experiments(store, allowed=["fork"], max_forks=2), "fork", destination="shop/other", **fork)
    other = {"source": "shop/agent-002@50", "settings": {"learning_rate": 5e-6}}
    second = ask(Experiments(store, allowed=["fork"], max_forks=2), "fork", destination="shop/lower", **other)
    third = ask(
        Experiments(store, allowed=["fork"], max_forks=2), "fork", source="shop/agent-001@5", destination="shop/x"
    )

    assert (first[1]["forks_left"], again[1]["repeated"], again[1]["forks_left"]) == (1, True, 1)
    assert (twin[0], "shop/low began with the same checkpoint" in twin[1]) == (True, True)
    assert second[1]["forks_left"] == 0
    assert (third[0], "budget of 2 forks is spent" in third[1]) == (True, True)


def test_a_ledger_that_was_spoilt_is_no_larger_budget(store: CheckpointStore):
    (store.root / ".agent-forks.jsonl").write_text("{}\n")

    failed, words = ask(Experiments(store, allowed=["fork"]), "fork", source="shop/agent-001@5", destination="shop/x")

    assert (failed, ".agent-forks.jsonl" in words) == (True, True)
    assert not store.steps(ModelRef("shop", "x"))


def test_a_line_that_was_cut_off_is_passed_over(store: CheckpointStore):
    ledger = Ledger(store.root)
    ledger.add(ModelRef("shop", "one"), CheckpointRef.parse("shop/agent-1@1"))
    with (store.root / ".agent-forks.jsonl").open("ab") as file:
        file.write(b'{"model":"shop/tw')

    ledger.add(ModelRef("shop", "three"), CheckpointRef.parse("shop/agent-1@1"))

    assert [fork.model for fork in ledger.forks()] == ["shop/one", "shop/three"]


def test_a_root_that_is_gone_is_not_waited_for(tmp_path: Path):
    with pytest.raises(StorageError, match="No such file"), Ledger(tmp_path / "gone").held():
        pass


def test_an_agent_branches_watches_compares_and_cleans_up_in_one_night(store: CheckpointStore):
    """What an overnight agent does, in the calls of one client."""

    async def night() -> list[Any]:
        said: list[Any] = []
        async with Client(make_server(Experiments(store, allowed=("fork", "clean-up"), max_forks=3))) as client:

            async def call(tool: str, **arguments: Any) -> Any:
                said.append(read(await client.call_tool(tool, arguments)))
                return said[-1]

            alert = (await call("status"))["alerts"][0]
            source = f"{alert['project']}/{alert['model']}@{alert['last_good']}"
            await call("rollouts", ref=f"shop/{alert['model']}@{alert['onset']}")
            ref = (await call("fork", source=source, destination="shop/night", settings={"learning_rate": 1e-5}))["ref"]
            parent = store.open(CheckpointRef.parse(ref))
            # Its own script trains meanwhile.
            for step in range(parent.ref.step, parent.ref.step + 3):
                HistoryStore(store.root).append(ModelRef("shop", "night"), step, split="train", metrics={"reward": 0.8})
                settings = {"learning_rate": 1e-5}
                parent = write_checkpoint(
                    store, ModelRef("shop", "night"), step + 1, parent=parent, settings=settings, reward=0.8
                )
            await call("history", model="shop/night")
            await call("compare", first=source, second=str(parent.ref))
            await call("fork", source=source, destination="shop/twin", settings={"learning_rate": 1e-5})
            await call("tree")
            await call("plan_clean_up", keep="newest:1")
            await call("clean_up", keep="newest:1")
            await call("status")
        return said

    before = {model: store.steps(model) for model in store.models()}
    status, _, forked, history, compared, twin, tree_, _, cleaned, after = asyncio.run(night())

    good = status["alerts"][0]["last_good"]
    assert history["metrics"]["train/reward"] == [0.8] * 3
    assert compared["part_at"] == f"shop/agent-004@{good}"
    assert "shop/night began with the same checkpoint" in twin
    assert "night" in {each["model"] for each in tree_["models"]}
    assert cleaned["deleted"] == [f"shop/night@{step}" for step in range(good, good + 3)]
    assert store.steps(ModelRef("shop", "night")) == [good + 3]
    assert {model: store.steps(model) for model in before} == before
    assert (after["alerts"][0]["life"], after["alerts"][0]["answered_by"]) == ("answered", "shop/night")
    assert forked["forks_left"] == 2


def test_a_client_starts_the_program_and_asks_it(store: CheckpointStore):
    async def asked() -> dict[str, Any]:
        program = str(Path(sys.executable).with_name("art"))
        parameters = StdioServerParameters(
            command=program, args=["mcp", "--root", str(store.root)], env=dict(os.environ)
        )
        async with Client(stdio_client(parameters)) as client:
            return read(await client.call_tool("status", {}))

    assert asyncio.run(asked())["projects"] == ["shop"]
