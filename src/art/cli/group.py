"""The commands by name, each with the line that tells of it. A command's module is imported when it is called.

So `art log` does not wait for what `art serve` needs, and `art --help` imports no command at all.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class CommandEntry(NamedTuple):
    """Where a command is, as `module.function` below `art.cli.commands`, and what `art --help` says of it."""

    function: str
    line: str


COMMANDS = {
    "log": CommandEntry("log.log", "List models and their steps, and where they were forked."),
    "show": CommandEntry("show.show", "Show all that is known of a checkpoint."),
    "status": CommandEntry("status.status", "Say whether a run went wrong, since when, at what cost."),
    "suggest": CommandEntry("status.suggest", "Print the command that goes on from before it went wrong."),
    "diff": CommandEntry("diff.diff", "Compare two checkpoints, and what their branches learned."),
    "serve": CommandEntry("serve.serve", "Serve a checkpoint to OpenAI's clients."),
    "chat": CommandEntry("serve.chat", "Talk to a checkpoint."),
    "ui": CommandEntry("ui.ui", "Show branches, steps and rollouts in a browser."),
    "mcp": CommandEntry("mcp.mcp", "Serve the operations to an agent, by MCP."),
    "verify": CommandEntry("verify.verify", "Check digests, signatures, or that a fork continues exactly."),
    "replay": CommandEntry("replay.replay", "Take a training step again, and compare bit for bit."),
    "data": CommandEntry("data.data", "Count how often a branch was trained on each scenario."),
    "sign": CommandEntry("sign.sign", "Sign a checkpoint."),
    "fork": CommandEntry("fork.fork", "Begin a model with a checkpoint of another one."),
    "sweep": CommandEntry("sweep.sweep", "Fork a branch for each combination of settings, and train."),
    "merge": CommandEntry("merge.merge", "Begin a model with the merge of two adapters."),
    "rewind": CommandEntry("rewind.rewind", "Make an earlier step the newest again; --undo takes it back."),
    "rm": CommandEntry("rm.remove", "Delete checkpoints for good."),
    "gc": CommandEntry("gc.collect", "Delete what broken-off work left; with --keep, old steps too."),
    "pin": CommandEntry("pin.pin", "Keep a checkpoint from every policy that deletes."),
    "unpin": CommandEntry("pin.unpin", "Take a pin out."),
    "push": CommandEntry("push.push", "Copy checkpoints to a bucket."),
    "pull": CommandEntry("pull.pull", "Copy a checkpoint from a bucket to this disk."),
    "export": CommandEntry("export.export", "Write an adapter, or a merged model, for other programs."),
    "commit": CommandEntry("commit.commit", "Keep a checkpoint of another trainer."),
    "checkout": CommandEntry("commit.checkout", "Write a checkpoint's files into a folder of your own."),
    "watch": CommandEntry("watch.watch", "Commit every checkpoint that another trainer writes."),
    "certify": CommandEntry("certify.certify", "Check that a training script resumes exactly."),
    "plan": CommandEntry("plan.plan", "Say what fits into a GPU's memory."),
}


class LazyGroup(TyperGroup):
    """The commands of `COMMANDS`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Built()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


class _Built(MutableMapping[str, Any]):
    """Commands that are made from their functions when they are first looked up."""

    def __init__(self) -> None:
        self._commands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._commands:
            self._commands[name] = _command(name, COMMANDS[name])
        return self._commands[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _command(name: str, entry: CommandEntry) -> Any:
    module, _, function = entry.function.partition(".")
    alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(getattr(import_module(f"art.cli.commands.{module}"), function))
    return typer.main.get_command(alone)
