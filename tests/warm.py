"""Scripts in processes of their own that begin at once: a server imports what most take seconds to import, and forks.

Each process is new: nothing was computed, no thread was started and no random number was drawn before the fork. What a
test says about starting Python itself (imports, Ctrl-C, exit statuses of the interpreter) needs a real start instead.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

POLL_S = 0.01
PATHS = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
IMPORTED = (
    "art.local", "art.local.backend", "art.hf", "art.train.trainer", "art.sample.own.engine", "art.http.app", "uvicorn",
    "openai", "openai.resources.chat", "peft", "torch", "transformers", "transformers.trainer", "accelerate",
)  # fmt: skip


class WarmProcess:
    """A script that runs, or has run."""

    def __init__(self, server: WarmServer, pid: int, folder: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._folder = server, folder

    def poll(self) -> int | None:
        """Give its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout_s: float = 250) -> int:
        deadline = time.monotonic() + timeout_s
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.pid} runs for more than {timeout_s} seconds:\n{self.stderr}")
            time.sleep(POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()


class WarmServer:
    """Starts scripts; itself it only imports and forks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, script: Path | str, *arguments: object, cwd: Path | None = None, text: str = "") -> WarmProcess:
        """Start a file, as Python would; `text` is what it reads."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        for name, content in (("stdin", text), ("stdout", ""), ("stderr", "")):
            (folder / name).write_text(content)
        pid = self.ask(
            argv=[str(script), *map(str, arguments)],
            folder=str(folder),
            cwd=str(cwd or Path.cwd()),
            env={**os.environ, "PYTHONPATH": PATHS},
        )
        assert pid is not None
        return WarmProcess(self, pid, folder)

    def run(
        self, script: Path | str, *arguments: object, cwd: Path | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        process = self.start(script, *arguments, cwd=cwd, text=text)
        status = process.wait()
        return subprocess.CompletedProcess([str(script)], status, process.stdout, process.stderr)

    def ask(self, **wish: Any) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1
    for line in sys.stdin:
        wish = json.loads(line)
        if "poll" in wish:
            answer = _status(wish["poll"])
        else:
            answer = os.fork()
            if answer == 0:
                _become(**wish)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(argv: list[str], folder: str, cwd: str, env: dict[str, str]) -> NoReturn:
    """Be the script, and end as Python does."""
    import torch

    for number, name in enumerate((f"{folder}/stdin", f"{folder}/stdout", f"{folder}/stderr")):
        opened = os.open(name, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    sys.path.insert(0, str(Path(argv[0]).parent))
    sys.argv = argv
    status = 0
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - as Python ends whatever a script raises
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # pyright: ignore
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    _serve()
