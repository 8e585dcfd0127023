"""docs/reference/command-line.md and `--help` name the same commands, arguments and options."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from art.cli.app import app
from art.cli.group import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
TERMINAL = 80
EVERYWHERE = {"--root", "--project", "--json", "--help"}
# One word for what differs with the command: a policy or a verdict, a key that opens or signs, a metric shown or given.
OF_ITS_COMMAND = {"--keep", "--key", "--metric", "--rollouts"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_every_option_of_a_command_and_no_other(command: str):
    options = set(_options(command)) - EVERYWHERE
    section = _section(command)
    usage = "\n".join(re.findall(rf"^    art {command}\b.*$", section, re.MULTILINE))

    assert options <= _named(section)
    assert _named(usage.partition("$")[0]) <= options
    assert usage


def test_the_page_lists_every_command_and_no_other():
    listed = re.findall(r"^\| \[`art ([a-z]+)", PAGE, re.MULTILINE)

    assert sorted(listed) == sorted(COMMANDS)


def test_the_page_says_of_every_command_what_the_help_says():
    rows = re.findall(r"^\| \[`art ([a-z]+).*?\]\(#[^)]*\) \| (.*) \|$", PAGE, re.MULTILINE)

    assert dict(rows) == {name: entry.line for name, entry in COMMANDS.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_line_of_a_command_is_one_sentence_that_fits_a_terminal(command: str):
    line = COMMANDS[command].line

    assert line.endswith(".")
    assert len(f"  {max(COMMANDS, key=len)}  {line}") <= TERMINAL


def test_an_option_is_explained_in_the_same_words_by_all_commands_that_have_it():
    program = typer.main.get_command(app)
    words: dict[str, set[str | None]] = {}
    for command in COMMANDS:
        for parameter in program.commands[command].params:  # pyright: ignore
            for name in parameter.opts:
                if name.startswith("--"):
                    words.setdefault(name, set()).add(parameter.help)

    assert {name for name, texts in words.items() if len(texts) > 1} == OF_ITS_COMMAND


@pytest.mark.parametrize("option", sorted(EVERYWHERE - {"--help"}))
def test_the_options_of_every_command_are_described_once(option: str):
    assert len(re.findall(rf"^\| `{option}[ `]", PAGE, re.MULTILINE)) == 1


def _named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)) - EVERYWHERE


def _section(command: str) -> str:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    return next(section for section in sections if f"art {command}" in section.partition("\n")[0])


def _options(command: str) -> Iterator[str]:
    program = typer.main.get_command(app)
    for parameter in program.commands[command].params:  # pyright: ignore
        # What is on unless one says otherwise is named by the word that turns it off.
        names = parameter.secondary_opts if parameter.default is True else parameter.opts
        yield from (name for name in names if name.startswith("--"))
