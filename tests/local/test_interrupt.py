"""A Ctrl-C that a script does not catch ends it with one line, wherever the script is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from art.local.interrupted import LINE
from warm import WarmServer

SCRIPT = """
import asyncio, sys
import art
from art.local import LocalBackend

base_model, place = sys.argv[1:]


def here(name):
    if name == place:
        print("here", flush=True)


async def rollout(model):
    messages = [{"role": "user", "content": "Greet me."}]
    completion = await model.openai_client().chat.completions.create(
        model=model.name, messages=messages, max_tokens=400
    )
    here("rollouts")
    return art.Trajectory(messages_and_choices=[*messages, completion.choices[0]], reward=len(str(completion)))


async def main():
    async with LocalBackend() as backend:
        model = art.TrainableModel(name="m", project="p", base_model=base_model)
        here("register")
        await model.register(backend)
        while True:
            groups = await art.gather_trajectory_groups(
                [art.TrajectoryGroup(rollout(model) for _ in range(3))], pbar_desc=None
            )
            here("train")
            await model.train(groups, art.TrainConfig(learning_rate=1e-4))


asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["register", "rollouts"])
def test_ctrl_c_ends_a_script_with_one_line_wherever_it_is(
    small_model: Path, tmp_path: Path, warm: WarmServer, place: str
):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = warm.start(tmp_path / "script.py", small_model, place, cwd=tmp_path)
    while not process.stdout:
        assert process.poll() is None, process.stderr

    process.send_signal(signal.SIGINT)

    assert process.wait() == -signal.SIGINT
    assert process.stderr == f"{LINE}\n"


def test_ctrl_c_ends_python_itself_with_one_line(small_model: Path, tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(small_model), "train"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"

    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)

    assert process.returncode == -signal.SIGINT
    assert complaint == f"{LINE}\n"


def test_a_hook_of_the_script_stays_and_other_errors_are_shown_whole():
    program = """
import sys
from art.local.interrupted import say_it_in_one_line

say_it_in_one_line()
ours = sys.excepthook
sys.excepthook = mine = lambda *error: ours(*error)
say_it_in_one_line()
assert sys.excepthook is mine
raise ValueError("shown")
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: shown" in done.stderr
