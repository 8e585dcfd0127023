"""A stand-in for the Hugging Face Hub: the address under which a file of a repository lies, and the store behind it.

As on the Hub, a HEAD tells commit, size and digest in headers, and a file of LFS is answered with a redirect to
another host, which must not see the token.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .proxy import Raw

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Repository:
    """Files by name, at one commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    token: str | None = None
    gated: bool = False
    lfs: tuple[str, ...] = ("adapter_model.safetensors",)
    sha256: dict[str, str] = field(default_factory=dict)
    """What the Hub says of a file, where that is not the truth."""
    strange: dict[tuple[str, str], Raw] = field(default_factory=dict)
    """By method and file: answers instead of the right ones."""
    tokens_elsewhere: list[str] = field(default_factory=list)
    """What the store behind the Hub was shown as authorization."""


@contextmanager
def hub(repositories: dict[str, Repository]) -> Iterator[str]:
    """Serve repositories; gives the endpoint."""
    with ExitStack() as servers:
        store = servers.enter_context(_serving(_store(repositories)))
        yield servers.enter_context(_serving(_hub(repositories, store)))


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def content(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted:
            self.say(200, content, headers)
            return
        first, _, last = wanted.partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        headers = {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
        self.say(206, content[start : end + 1], headers)

    def say(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _store(repositories: dict[str, Repository]) -> type[_Handler]:
    class Store(_Handler):
        def do_GET(self) -> None:
            name, _, file = self.path.strip("/").rpartition("/")
            repository = repositories[name]
            repository.tokens_elsewhere.append(self.headers.get("Authorization") or "")
            self.content(repository.files[file], {})

    return Store


def _hub(repositories: dict[str, Repository], store: str) -> type[_Handler]:
    class Hub(_Handler):
        def do_GET(self) -> None:
            name, _, rest = self.path.strip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            repository = repositories.get(name)
            if repository is None:
                self.say(404, headers={"X-Error-Code": "RepoNotFound"})
            elif answer := repository.strange.get((self.command, file)):
                self.close_connection = True
                answer.send(self.wfile)
            elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
                self.say(401, headers={"X-Error-Code": "GatedRepo"} if repository.gated else {})
            elif revision not in ("main", repository.commit):
                self.say(404, headers={"X-Error-Code": "RevisionNotFound"})
            elif file not in repository.files:
                self.say(404, headers={"X-Error-Code": "EntryNotFound"})
            else:
                self._file(repository, name, file)

        do_HEAD = do_GET

        def _file(self, repository: Repository, name: str, file: str) -> None:
            content, headers = repository.files[file], {"X-Repo-Commit": repository.commit}
            if file not in repository.lfs:
                blob = hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()
                self.content(content, {**headers, "ETag": f'"{blob}"'})
                return
            digest = repository.sha256.get(file, hashlib.sha256(content).hexdigest())
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{digest}"'}
            self.say(302, headers={**headers, **linked, "Location": f"{store}/{name}/{file}"})

    return Hub
