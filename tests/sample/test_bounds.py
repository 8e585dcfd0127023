"""What one client may take: bodies, time, connections, and what a request may hold. Real sockets where it matters."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.http.limits import Limits
from art.http.protocol import ChatRequest, read_as
from art.http.refusal import RequestError
from art.http.writing import as_json
from art.sample.own.engine import Engine

from .serving import AUTHORIZED, BASE, HELLO, KEY, Served, serving

HASTY = Limits(header_s=0.3, body_s=0.3, stall_s=0.3, keep_alive_s=0.3, resting=50, body_bytes=100_000)
HEAD = (
    f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    "Content-Type: application/json\r\n"
)
GET = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
HALVES = {
    "nothing": "",
    "half a request line": "POST /v1/ch",
    "half a header": HEAD,
    "no body": HEAD + "Content-Length: 500\r\n\r\n",
    "half a body": HEAD + 'Content-Length: 500\r\n\r\n{"model": "agent", ',
    "half a chunk": HEAD + "Transfer-Encoding: chunked\r\n\r\n100\r\nabc",
    "a body that no route reads": GET + "Content-Length: 500\r\n\r\nabc",
    "a body that is refused": HEAD.replace(KEY, "wrong") + "Content-Length: 500\r\n\r\n{",
    "a second request, half": GET + "\r\n" + GET,
    "a second request, half a body": GET + "\r\n" + HEAD + "Content-Length: 500\r\n\r\n{",
}


@pytest.fixture(scope="module")
def hasty(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(base, tokenizer, limits=HASTY) as served:
        yield served


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets the process open as many files as it ever may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 4096:
        pytest.skip(f"only {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def connect(hasty: Served) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(hasty.address, timeout=20))


def read_to_end(client: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    received = b""
    try:
        while part := client.recv(1 << 16):
            received += part
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_not_waited_for(hasty: Served, connect: Callable[[], socket.socket], half: str) -> None:
    client = connect()
    client.sendall(HALVES[half].encode())

    read_to_end(client)

    assert hasty.get("/v1/models").status_code == 200


@pytest.mark.usefixtures("many_files")
def test_connections_leave_the_process_half_of_its_files(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What other tests of this process have open is in the way of none.
    files = 256 + len(list(Path("/dev/fd").iterdir()))
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        try:
            served = opened.enter_context(serving(base, tokenizer))
        finally:
            # The clients are in this process as well.
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        clients = [opened.enter_context(socket.create_connection(served.address, timeout=20)) for _ in range(files)]
        for client in clients:
            client.setblocking(False)
            with suppress(ConnectionError):
                client.sendall(HALVES["half a header"].encode())
        ends = time.monotonic() + 8

        while (left := sum(map(is_connected, clients))) > files // 2 and time.monotonic() < ends:
            time.sleep(0.05)

        assert 0 < left <= files // 2
        assert served.get("/v1/models").status_code == 200


def is_connected(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("half", ["half a header", "half a body"])
def test_a_trickle_of_bytes_buys_no_time(connect: Callable[[], socket.socket], half: str) -> None:
    client = connect()
    client.sendall(HALVES[half].encode())

    sent = 0
    with suppress(ConnectionError):
        for sent in range(200):  # noqa: B007 - counted until the server ends it
            client.sendall(b"a")
            time.sleep(0.05)

    assert sent < 100


def test_a_late_body_is_answered_with_408(connect: Callable[[], socket.socket]) -> None:
    client = connect()
    client.sendall(HALVES["half a body"].encode())

    answer = read_to_end(client)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


def test_fifteen_hundred_half_requests_are_let_go_while_others_are_answered(
    hasty: Served, connect: Callable[[], socket.socket], many_files: None
) -> None:
    halves = [HALVES[half].encode() for half in ("nothing", "half a header", "half a body")]
    clients = [connect() for _ in range(1500)]
    for number, client in enumerate(clients):
        client.sendall(halves[number % len(halves)])

    statuses = [hasty.get("/v1/models").status_code for _ in range(5)]
    for client in clients:
        read_to_end(client)

    assert statuses == [200] * 5


def test_beyond_the_bound_the_oldest_resting_connection_ends(serve: Callable[..., Served], engine: Engine) -> None:
    served = serve(engine, limits=Limits(resting=3))
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(served.address, timeout=20)) for _ in range(3)]
        time.sleep(1.1)
        opened.enter_context(socket.create_connection(served.address, timeout=20))

        assert read_to_end(clients[0]) == b""
        clients[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[1].recv(1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [100_001, 3_000_000])
def test_a_body_that_is_too_long_is_413(hasty: Served, size: int, *, chunked: bool) -> None:
    body = json.dumps({"model": "agent", "messages": [{"role": "user", "content": "x" * size}]}).encode()
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))

    answer = hasty.post(pieces if chunked else body)

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(("size", "count", "status"), [(1, 4000, b"400"), (1, 900, b"200"), (64, 400, b"200")])
def test_a_body_in_crumbs_is_refused_before_it_takes_the_time_of_others(
    served: Served, size: int, count: int, status: bytes
) -> None:
    body = json.dumps({"model": "agent", "messages": HELLO, "max_tokens": 1}).encode().ljust(size * count)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    with socket.create_connection(served.address) as client:
        client.sendall(f"{HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        with suppress(ConnectionError):
            client.sendall(b"0\r\n\r\n")

        answer = client.recv(1 << 16)

    assert answer.startswith(b"HTTP/1.1 " + status)


def test_a_client_that_does_not_read_is_let_go(hasty: Served, connect: Callable[[], socket.socket]) -> None:
    hasty.names |= {f"agent@{step}": BASE for step in range(150_000)}
    whole = len(hasty.get("/v1/models").content)
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall((GET + "\r\n").encode())
    time.sleep(1.5)

    received = len(read_to_end(client))

    assert received < whole / 2
    hasty.names = {"agent": BASE}


def test_a_slow_client_that_reads_on_gets_everything(hasty: Served) -> None:
    hasty.names |= {f"agent@{step}": BASE for step in range(20_000)}
    whole = len(hasty.get("/v1/models").content)

    received = 0
    with httpx.stream("GET", f"{hasty.base_url}/models", headers=AUTHORIZED) as answer:
        for part in answer.iter_bytes(200_000):
            received += len(part)
            time.sleep(0.15)

    assert received == whole
    hasty.names = {"agent": BASE}


def test_an_answer_that_would_fill_the_memory_is_refused_before_it_begins(served: Served) -> None:
    body = {"model": "agent", "messages": [{"role": "user", "content": "Hello"}], "logprobs": True, "top_logprobs": 20}

    answer = served.post(body | {"n": 128, "max_tokens": 1_000_000})

    assert answer.status_code == 400
    assert "Lower max_tokens, n or top_logprobs" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": []},
        {"a": {}, "b": [{"x": list(range(600))}, {"y": None}]},
        {"t": "ü\n", "l": [[1, 2], [], [[0.1] * 300]]},
    ],
)
def test_an_answer_written_in_pieces_is_the_same_text(document: dict[str, object]) -> None:
    assert as_json(document) == json.dumps(document).encode()


WRONG = {
    "logit_bias": {"logit_bias": {f"x{number}": "y" for number in range(200_000)}},
    "arguments": {f"x{number}": 5 for number in range(200_000)},
    "messages": {"messages": [5] * 200_000},
    "tools": {"tools": [5] * 200_000},
    "stop": {"stop": [5] * 200_000},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_hundred_thousand_mistakes_are_one_and_stop_no_thread(what: str):
    document = {"model": "agent", "messages": HELLO, **WRONG[what]}
    began = time.process_time()

    with pytest.raises(RequestError):
        read_as(ChatRequest, document)

    # No other thread runs meanwhile. Looking at each of them takes a second and more.
    assert time.process_time() - began < 0.3
