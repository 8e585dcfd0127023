"""Who is let in: the key, the Host, the Origin and the content type of a request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.errors import ConfigurationError
from art.http.guard import Access
from art.http.server import Listen, Server

from .serving import AUTHORIZED, HELLO, KEY, Served, serving

ASKED = {"model": "agent", "messages": HELLO, "max_tokens": 1}


@pytest.fixture(scope="module")
def served(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(base, tokenizer) as served:
        yield served


def raw_status(served: Served, method: str, path: str, headers: list[tuple[str, str]]) -> int:
    """Send exactly these headers."""
    connection = http.client.HTTPConnection(*served.address, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    body = json.dumps(ASKED).encode() if method == "POST" else b""
    for name, value in [*headers, ("Content-Length", str(len(body)))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xe9\xff".encode("latin-1")},
        {"api-key": KEY},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/unknown", "/"])
def test_without_the_key_nothing_is_answered(served: Served, path: str, headers: dict[str, str]) -> None:
    url = served.base_url.removesuffix("/v1") + path

    answers = [httpx.get(url, headers=headers), httpx.post(url, headers=headers, json=ASKED)]

    for answer in answers:
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert KEY not in answer.text


def test_a_wrong_key_is_an_authentication_error_to_openais_client(served: Served) -> None:
    with pytest.raises(openai.AuthenticationError, match="inference_api_key"):
        openai.OpenAI(base_url=served.base_url, api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_monitors_need_no_key(served: Served, path: str) -> None:
    assert httpx.get(served.base_url.removesuffix("/v1") + path).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3", "[::1]", "[::1]:80"]
)
def test_this_machine_by_any_name_is_let_in(served: Served, host: str) -> None:
    assert served.get("/v1/models", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example@localhost",
        "localhost@evil.example", "169.254.169.254", "10.0.0.7:8000", "[fe80::1]", "[::1].evil.example", "[::1",
        "0.0.0.0", "localhost:99999999", "localhost:80:80", "2130706433", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/models", "/health", "/metrics"])
def test_a_name_that_was_made_to_point_here_is_refused(served: Served, host: str, path: str) -> None:
    headers = [("Host", host), ("Authorization", f"Bearer {KEY}")]

    assert raw_status(served, "GET", path, headers) == 403


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_a_request_names_one_host(served: Served, hosts: list[str]) -> None:
    headers = [("Authorization", f"Bearer {KEY}"), *(("Host", host) for host in hosts)]

    assert raw_status(served, "GET", "/v1/models", headers) in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_is_refused_even_with_the_key(
    served: Served, headers: dict[str, str], method: str
) -> None:
    content = {"content": json.dumps(ASKED), "headers": AUTHORIZED | {"Content-Type": "application/json"} | headers}

    answer = httpx.request(method, f"{served.base_url}/chat/completions", **content)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_that_this_server_showed_is_let_in(served: Served) -> None:
    origin = served.base_url.removesuffix("/v1")

    assert served.post(ASKED, Origin=origin, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_read(served: Served, media_type: str) -> None:
    answer = served.post(ASKED, **{"Content-Type": media_type})

    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_name_its_encoding(served: Served, media_type: str) -> None:
    assert served.post(ASKED, **{"Content-Type": media_type}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "trainer.lan"])
def test_a_server_on_the_network_may_be_called_by_any_name(host: str) -> None:
    access = Access("key", host)

    assert access.admits_host("trainer.lan:8000")
    assert not access.admits_host("user@trainer.lan")


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "k\xe9", "x" * 513])
def test_a_key_that_cannot_travel_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        Access(key)


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_the_address_of_a_server_can_be_asked_from_here(host: str, url: str) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise NotImplementedError

    assert Server(app, Listen(key=KEY, host=host)).base_url.startswith(url)
