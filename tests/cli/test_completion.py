"""What a shell is offered: commands, models, and after an @ the steps of one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from art.store.store import CheckpointStore

LINES = {
    "a project's models": ("art show shop/", ["shop/agent-1", "shop/agent-2"]),
    "a bare name": ("art show agent-", ["agent-1", "agent-2"]),
    "steps, newest first": ("art show shop/agent-1@", ["150", "100", "50"]),
    "steps that begin so": ("art rewind shop/agent-1@1", ["150", "100"]),
    "steps of a bare name": ("art rm agent-2@2", ["200"]),
    "the second name": ("art fork shop/agent-1@100 agent-", ["agent-1", "agent-2"]),
    "commands": ("art ver", ["verify"]),
    "what nobody has": ("art show shop/nobody@", []),
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("program", ["art", "artfork"])
def test_bash_is_offered_what_is_there(store: CheckpointStore, tmp_path: Path, program: str):
    typed = {claim: line.replace("art ", f"{program} ", 1) for claim, (line, _) in LINES.items()}

    offered = offered_by_bash(program, store.root, tmp_path, list(typed.values()))

    assert dict(zip(typed, offered, strict=True)) == {claim: answer for claim, (_, answer) in LINES.items()}


def offered_by_bash(program: str, root: Path, folder: Path, lines: list[str]) -> list[list[str]]:
    """Call the completion that `art --show-completion bash` installs, with the words as bash cuts them."""
    script = [f'eval "$({program} --show-completion bash)"']
    for line in lines:
        words = line.replace("@", " @ ").split()
        quoted = " ".join(f"'{word}'" for word in words)
        script += [f"COMP_WORDS=({quoted})", f"COMP_CWORD={len(words) - 1}"]
        script += [f"_{program}_completion {program}", 'echo "${COMPREPLY[*]}"']
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": path, "ART_ROOT": str(root), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        check=True,
    )
    return [answer.split() for answer in done.stdout.splitlines()]
