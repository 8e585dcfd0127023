"""What is said where a server cannot be started or found, and that none outlives us. Needs no vLLM."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from art.errors import ArtError, ConfigurationError, InferenceError, SamplerLostError
from art.sample.version import BASE
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import Launch
from art.sample.vllm.process import Process
from art.sample.vllm.sampler import VLLMSampler

from .asking import launch_of, sampler_of


def refused(source: Launch | Address, error: type[ArtError]) -> str:
    """Give what starting says."""
    sampler = sampler_of(source)
    try:
        with pytest.raises(error) as caught:
            sampler.publish(BASE, None)
    finally:
        sampler.close()
    return str(caught.value)


def program(folder: Path, text: str) -> str:
    """Write a program that stands where VLLM_PYTHON points; gives its path."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_vllm_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("VLLM_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "set VLLM_PYTHON to that environment's Python" in refused(launch_of(tmp_path), ConfigurationError)


def test_a_vllm_python_that_is_no_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VLLM_PYTHON", "/nowhere/python")

    assert "VLLM_PYTHON is '/nowhere/python', and no program" in refused(launch_of(tmp_path), ConfigurationError)


def test_a_python_without_vllm_ends_at_once_and_its_last_words_and_log_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)

    said = refused(launch_of(tmp_path), InferenceError)

    assert "vLLM ended while it started (exit status 1)" in said
    assert "No module named 'vllm'" in said
    log = Path(said.rpartition("Its log is ")[2].removesuffix("."))
    assert "No module named 'vllm'" in log.read_text()
    log.unlink()


def test_the_first_error_of_a_server_that_ends_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    said_by_vllm = (
        "WARNING this may end in OSError: too many files",
        "(Worker pid=1) ERROR ValueError: Available memory (13 GiB) is less than desired",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    )
    code = f"import sys\nprint(*{said_by_vllm!r}, sep='\\n')\nsys.exit(1)"
    monkeypatch.setenv("VLLM_PYTHON", program(tmp_path, code))

    said = refused(launch_of(tmp_path), InferenceError)

    assert "(exit status 1): ValueError: Available memory (13 GiB) is less than desired. Its log" in said
    Path(said.rpartition("Its log is ")[2].removesuffix(".")).unlink()


def test_on_a_cpu_a_server_is_told_how_much_memory_it_may_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)

    command = launch_of(tmp_path, options=()).command(1)

    assert command[command.index("--kv-cache-memory-bytes") + 1] == str(4 << 30)


def test_a_server_that_never_answers_is_stopped_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    monkeypatch.setenv("VLLM_PYTHON", program(tmp_path, code))

    said = refused(launch_of(tmp_path, timeout_s=1.5), InferenceError)

    assert "vLLM did not answer within 1.5 s, and was stopped" in said
    assert ended(int(pid.read_text()))
    Path(said.rpartition("Its log is ")[2].removesuffix(".")).unlink()


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        said = refused(launch_of(tmp_path, port=port), ConfigurationError)

    assert f"vLLM cannot listen on 127.0.0.1:{port}" in said


def test_a_rank_that_vllm_cannot_have_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)

    assert "rank 1 to 512, not of rank 600" in refused(launch_of(tmp_path, max_rank=600), ConfigurationError)


def test_the_server_gets_nothing_of_our_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen = tmp_path / "seen"
    code = (
        f"import os, sys\nopen({str(seen)!r}, 'w').write(f'{{os.environ}} {{sys.argv}}')\nsys.exit('RuntimeError: no')"
    )
    monkeypatch.setenv("VLLM_PYTHON", program(tmp_path, code))
    monkeypatch.setenv("PYTHONPATH", "/ours")

    said = refused(launch_of(tmp_path), InferenceError)

    assert "RuntimeError: no. Its log is" in said
    assert "/ours" not in seen.read_text()
    assert "'VLLM_ALLOW_RUNTIME_LORA_UPDATING': '1'" in seen.read_text()
    assert "'--logprobs-mode', 'processed_logprobs'" in seen.read_text()
    Path(said.rpartition("Its log is ")[2].removesuffix(".")).unlink()


def test_an_address_where_nobody_answers_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    said = refused(Address.parse(f"http://127.0.0.1:{port}"), SamplerLostError)

    assert f"No vLLM server answers at http://127.0.0.1:{port}" in said


def test_another_server_is_told_from_vllm():
    with answering() as address:
        assert "is no vLLM server: it names no base model" in refused(address, ConfigurationError)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:99999", "http://host/?a=1"])
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(ConfigurationError, match="is no address of a server"):
        Address.parse(url)


def test_an_address_may_end_as_a_client_takes_it():
    assert str(Address.parse("http://host:8000/v1")) == str(Address.parse("http://host:8000/")) == "http://host:8000"
    assert str(Address.parse("https://[::1]/proxy/v1/")) == "https://[::1]:443/proxy"


def test_closing_before_the_first_use_starts_nothing(tmp_path: Path):
    sampler: VLLMSampler = sampler_of(launch_of(tmp_path))

    sampler.close()

    with pytest.raises(InferenceError, match="closed"):
        sampler.publish(BASE, None)


def test_stopping_ends_what_a_server_has_started(tmp_path: Path):
    process = Process([sys.executable, "-c", PARENT, str(tmp_path / "pids")], os.environ)
    pids = pids_of(tmp_path / "pids")

    process.stop()

    assert all(ended(pid) for pid in pids)


@pytest.mark.parametrize("killed", ["starter", "keeper", "starter and keeper"])
def test_a_server_ends_when_what_started_it_is_killed(tmp_path: Path, killed: str):
    command = [sys.executable, "-c", STARTER, sys.executable, "-c", PARENT, str(tmp_path / "pids")]
    starter = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    )
    pids = pids_of(tmp_path / "pids")
    keeper = psutil.Process(pids[0]).parent()
    assert keeper is not None
    # Before the first is killed: what waits for that would be gone in a moment.
    beside = [child.pid for child in keeper.children() if child.pid != pids[0]]

    if "starter" in killed:
        starter.kill()
    if "keeper" in killed:
        keeper.kill()

    assert all(ended(pid) for pid in [*pids, *beside, keeper.pid])
    starter.kill()
    starter.wait()


STARTER = """
import os, sys, time
from art.sample.vllm.process import Process
process = Process(sys.argv[1:], os.environ)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


def pids_of(path: Path) -> list[int]:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return [int(pid) for pid in path.read_text().split()]


def ended(pid: int) -> bool:
    """Tell whether a process ends within some seconds; one that nobody has waited for has ended, too."""
    for _ in range(1000):
        try:
            os.kill(pid, 0)
            state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
            if not state.stdout.strip() or state.stdout.startswith("Z"):
                return True
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@contextmanager
def answering() -> Generator[Address]:
    """A web server that is none of vLLM's: it answers everything with 200 and an empty object."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Address.parse(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
