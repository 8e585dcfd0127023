"""A proxy between an HTTP client and a server, which misbehaves on demand and counts what passes.

    proxy.fault(CutBody(after=1000), when=is_get_of("adapter_model"), skip=1, times=2)

spoils the second and third request that fit. Knows HTTP/1.1 with Content-Length and chunked bodies; no TLS.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
BLOCK = 1 << 16


@dataclass(frozen=True)
class Request:
    """What the client asked, with its path decoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


Predicate = Callable[[Request], bool]


@dataclass(frozen=True)
class Refuse:
    """Close the connection without an answer; the server sees nothing."""


@dataclass(frozen=True)
class Delay:
    """Answer as the server does, later."""

    seconds: float


@dataclass(frozen=True)
class CutBody:
    """Send the server's headers and this many bytes of the body, then close."""

    after: int


@dataclass(frozen=True)
class CorruptByte:
    """Flip the byte at this place in the answer's body, or in the request's."""

    at: int
    where: str = "answer"


@dataclass(frozen=True)
class Answer:
    """Answer this without asking the server, as S3 words its errors."""

    status: int
    code: str = "InternalError"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class IgnoreRange:
    """Forget the Range header, so that the server answers 200 with everything."""


@dataclass(frozen=True)
class DropAnswer:
    """Let the server do it, then close without an answer."""


@dataclass(frozen=True)
class Call:
    """Let the server do it, or spare it, and call a function; then close without an answer."""

    act: Callable[[], object]
    asks: bool = False


@dataclass(frozen=True)
class Raw:
    """Send this byte for byte without asking the server, then close."""

    content: bytes
    pause_s: float = 0
    """Between two bytes."""

    def send(self, file: BufferedIOBase) -> None:
        """Write it to a connection, as far as the client listens."""
        if not self.pause_s:
            file.write(self.content)
            return
        try:
            for byte in self.content:
                file.write(bytes([byte]))
                file.flush()
                time.sleep(self.pause_s)
        except OSError:
            """The client has given up, as it should."""


def raw(status: str, *headers: str, body: bytes = b"") -> Raw:
    """An answer with these headers and no others but the body's length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return Raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


Fault = Refuse | Raw | Delay | CutBody | CorruptByte | Answer | IgnoreRange | DropAnswer | Call


@dataclass
class Rule:
    """A fault for the requests that fit: the first `skip` are spared, the next `times` are hit."""

    fault: Fault
    when: Predicate
    skip: int
    times: float
    hits: int = 0
    seen: int = 0

    def takes(self, request: Request) -> bool:
        if not self.when(request):
            return False
        self.seen += 1
        if self.seen <= self.skip or self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultProxy:
    """Listens on loopback in a thread; forwards to `upstream` except where a rule says otherwise."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.requests: list[Request] = []
        self.bytes_down = 0
        self.bytes_up = 0
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._under_way = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, fault: Fault, *, when: Predicate, skip: int = 0, times: float = 1) -> Rule:
        """Add a rule; the first rule that takes a request decides."""
        rule = Rule(fault, when, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Drop every rule."""
        with self._lock:
            self._rules.clear()

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.requests.clear()
            self.bytes_down = self.bytes_up = 0

    def counts(self) -> Counter[str]:
        """How many requests passed, by method."""
        return Counter(request.method for request in list(self.requests))

    @contextmanager
    def busy(self) -> Generator[None]:
        """Count what is under way."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def wait(self) -> None:
        """Wait until the server has dealt with everything that was sent to it."""
        while self._under_way:
            time.sleep(0.001)

    def note(self, request: Request) -> Fault | None:
        """Count a request and say what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            self.bytes_up += len(request.body)
            return next((rule.fault for rule in self._rules if rule.takes(request)), None)

    def count_down(self, size: int) -> None:
        with self._lock:
            self.bytes_down += size


def any_request(_: Request) -> bool:
    return True


def is_method(*methods: str) -> Predicate:
    return lambda request: request.method in methods


def is_get_of(part: str) -> Predicate:
    return lambda request: request.method == "GET" and part in request.path


def is_put_of(part: str) -> Predicate:
    return lambda request: request.method == "PUT" and part in request.path


def is_list(request: Request) -> bool:
    return request.method == "GET" and "list-type=2" in request.query


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = BLOCK

        def do(self) -> None:
            body = self._body()
            split = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(split.path), split.query, headers, body)
            with proxy.busy():
                self._serve(request, proxy.note(request))

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _serve(self, request: Request, fault: Fault | None) -> None:
            match fault:
                case Refuse():
                    self._hang_up()
                case Raw():
                    self.close_connection = True
                    fault.send(self.wfile)
                case Answer(status, code, headers):
                    self._answer(status, code, headers)
                case DropAnswer():
                    self._ask(request, {}).read()
                    self._hang_up()
                case Call(act, asks):
                    if asks:
                        self._ask(request, {}).read()
                    act()
                    self._hang_up()
                case Delay(seconds):
                    time.sleep(seconds)
                    self._pass_on(request, fault)
                case _:
                    self._pass_on(request, fault)

        def _ask(self, request: Request, changed: dict[str, str | None]) -> HTTPResponse:
            assert proxy.upstream.hostname is not None
            connection = HTTPConnection(proxy.upstream.hostname, proxy.upstream.port, timeout=120)
            connection.putrequest(request.method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", *changed):
                    connection.putheader(name, value)
            if request.body or request.method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(request.body)))
            connection.putheader("Connection", "close")
            connection.endheaders(request.body or None)
            return connection.getresponse()

        def _pass_on(self, request: Request, fault: Fault | None) -> None:
            if isinstance(fault, CorruptByte) and fault.where == "request":
                request = Request(
                    request.method, request.path, request.query, request.headers, _flip(request.body, fault.at)
                )
            with self._ask(request, {"range": None} if isinstance(fault, IgnoreRange) else {}) as answer:
                self._start(answer, request)
                if request.method != "HEAD":
                    self._copy(answer, fault)
                self.wfile.flush()

        def _start(self, answer: HTTPResponse, request: Request) -> None:
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length")
            self.chunked = length is None and request.method != "HEAD" and answer.status != 204
            if length is not None:
                self.send_header("Content-Length", length)
            elif self.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def _copy(self, answer: HTTPResponse, fault: Fault | None) -> None:
            place = 0
            while block := answer.read(BLOCK):
                if (
                    isinstance(fault, CorruptByte)
                    and fault.where == "answer"
                    and place <= fault.at < place + len(block)
                ):
                    block = _flip(block, fault.at - place)
                if isinstance(fault, CutBody) and place + len(block) > fault.after:
                    self._write(block[: fault.after - place])
                    self._hang_up()
                    return
                self._write(block)
                place += len(block)
            if self.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def _write(self, block: bytes) -> None:
            proxy.count_down(len(block))
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if self.chunked else block)

        def _answer(self, status: int, code: str, headers: tuple[tuple[str, str], ...]) -> None:
            text = f"<Error><Code>{code}</Code><Message>said by the fault proxy</Message></Error>".encode()
            body = b"" if self.command == "HEAD" else text
            self.send_response_only(status)
            for name, value in (*headers, ("Content-Type", "application/xml"), ("Content-Length", str(len(text)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def _hang_up(self) -> None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Handler


def _flip(data: bytes, at: int) -> bytes:
    if at >= len(data):
        return data
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
