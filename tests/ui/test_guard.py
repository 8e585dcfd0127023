"""Who may ask the page's server: its own page on this machine, and nobody else."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import httpx
import pytest

from art.http import connection
from art.http.limits import Limits
from art.names import ModelRef
from art.store.store import CheckpointStore
from art.ui import app

from .conftest import TOKEN, Page, served
from .story import Branch, tell


def get(page: Page, path: str = "api/status", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(page.url + path, headers=named)


def test_the_page_answers_under_its_own_names(page: Page):
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert get(page, host=f"{host}:{page.port}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"host": "127.0.0.1.evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_others_are_refused(page: Page, headers: dict[str, str]):
    assert get(page, **headers).status_code == 403
    assert get(page, "", **headers).status_code == 403


def test_every_answer_says_that_it_is_for_this_page_only(page: Page):
    for path in ("", "api/tree", "api/nothing"):
        headers = get(page, path).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in get(page, "").headers["content-security-policy"]
    assert "unsafe" not in get(page, "").headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "api/history/shop/..%2f..%2fetc",
        "api/history/shop/%2e%2e",
        "api/history/../../etc/passwd",
        "api/step/shop/agent-001/1e3",
        "api/step/shop/agent-001/9999999999",
        "api/step/shop/agent-001/-1",
        "api/step/shop/nobody/1",
        "api/rollouts/shop/agent-001/1?split=../../etc",
        "api/compare?a=x&b=y",
        "api/compare",
        "etc/passwd",
    ],
)
def test_what_is_not_there_is_one_error(page: Page, path: str):
    answer = get(page, path)

    assert answer.status_code in (400, 404)
    assert set(answer.json()) == {"error"}


def wish(page: Page, content: Any, **headers: Any) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(page.url + "api/fork", content=content, headers=named)


def test_a_fork_needs_the_token(page: Page):
    content = json.dumps({"source": "shop/agent-004@69", "destination": "shop/stolen"})

    for headers in (
        {},
        {"x_art_token": "wrong"},
        {"x_art_token": b"\xe9\xff"},
        {"x_art_token": TOKEN, "origin": "https://evil.example"},
    ):
        assert wish(page, content, **headers).status_code == 403
    assert ModelRef("shop", "stolen") not in page.store.models()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"source": 1, "destination": "shop/x"}',
        b'{"source": "shop/agent-004", "destination": "shop/x"}',
        b'{"source": "shop/agent-004@1", "destination": "../x"}',
        b'{"source": "shop/agent-004@69", "destination": "shop/x", "reset": ["everything"]}',
        b'{"source": "shop/agent-004@69", "destination": "shop/x", "more": 1}',
        b'{"source": "shop/agent-004@999", "destination": "shop/x"}',
    ],
)
def test_a_bad_wish_changes_nothing(page: Page, content: bytes):
    before = page.store.models()

    answer = wish(page, content, x_art_token=TOKEN)

    assert answer.status_code in (400, 404)
    assert page.store.models() == before


def test_a_body_without_end_is_cut_off(page: Page):
    assert wish(page, b"x" * 100_000, x_art_token=TOKEN).status_code == 413


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    return tell(tmp_path_factory.mktemp("small"), story=(Branch(name="one", last=2, changed={}),))


@pytest.mark.parametrize(
    "half",
    [
        "",
        "GET /api/tree HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n",
        "POST /api/fork HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Art-Token: {token}\r\nContent-Length: 9\r\n\r\n{{",
    ],
)
def test_half_a_request_is_not_waited_for(small: CheckpointStore, monkeypatch: pytest.MonkeyPatch, half: str):
    monkeypatch.setattr(connection, "BODY_GRACE_S", 0.2)
    hasty = Limits(header_s=0.2, body_s=0.2, stall_s=0.2)

    with (
        served(small, limits=hasty) as page,
        socket.create_connection(("127.0.0.1", page.port), timeout=10) as client,
    ):
        client.sendall(half.format(port=page.port, token=TOKEN).encode())
        answer = client.recv(1000)

    assert answer == b""


@pytest.mark.parametrize("flood", [f"X: {'y' * 200_000}", "\r\n".join(f"X{number}: y" for number in range(20_000))])
def test_a_flood_of_headers_is_refused_and_the_page_goes_on(page: Page, flood: str):
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as client, suppress(OSError):
        client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n{flood}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 4")
    assert get(page).status_code == 200


def test_more_pages_than_can_be_told_are_refused(small: CheckpointStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app, "MOST_STREAMS", 1)
    with served(small) as page, httpx.stream("GET", f"{page.url}api/events") as first:
        lines = first.iter_lines()
        next(lines)
        second = get(page, "api/events")
    assert (first.status_code, second.status_code) == (200, 503)


def test_without_allow_fork_there_is_nothing_to_post_to(small: CheckpointStore):
    with served(small, allow_fork=False) as page:
        assert wish(page, b"{}", x_art_token=TOKEN).status_code == 404


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_ends_without_an_error_while_somebody_has_it_open(small: CheckpointStore, number: signal.Signals):
    command = [sys.executable, "-c", "from art.cli import main; main()", "--root", str(small.root), "ui"]

    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with httpx.stream("GET", f"{address}api/events", timeout=30) as events:
            lines = events.iter_lines()
            assert next(lines) == ": watching"
            process.send_signal(number)
            rest = list(lines)
        _, said = process.communicate(timeout=30)

    assert rest
    assert said == "The page is not served any more.\n"
    assert process.returncode == 0
