"""A server of llama.cpp on a free port: `llama_server.py FILE.gguf THREADS ROWS TOKENS_PER_ROW`, until its input ends.

Runs in the environment of `bench_rollouts.py`'s LLAMA_PYTHON, which has the package `xllamacpp`. Prints the address.
"""

from __future__ import annotations

import socket
import sys

import xllamacpp  # pyright: ignore[reportMissingImports]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(file: str, threads: int, rows: int, tokens_per_row: int) -> None:
    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_parallel, settings.n_ctx = rows, rows * tokens_per_row
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.port = free_port()
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
