"""A stand-in for the Hugging Face Hub: the three addresses that reading a repository needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    """Files by name, at one commit; `lfs` files are answered with a redirect, as the Hub does."""

    files: dict[str, bytes]
    commit: str = "c0ffee"
    token: str | None = None
    lfs: tuple[str, ...] = ("adapter_model.safetensors",)
    sha256: dict[str, str] = field(default_factory=dict)
    """What the Hub says of a file, where that is not the truth."""


@contextmanager
def hub(repositories: dict[str, Repository]) -> Iterator[str]:
    """Serve repositories; gives the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.strip("/")
            for name, repository in repositories.items():
                if path.startswith((f"api/models/{name}/", f"{name}/", f"cdn/{name}/")):
                    self._of(repository, name, path)
                    return
            self._say(404)

        def _of(self, repository: Repository, name: str, path: str) -> None:
            if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
                self._say(401)
            elif path in (f"api/models/{name}/revision/main", f"api/models/{name}/revision/{repository.commit}"):
                self._json({"id": name, "sha": repository.commit})
            elif path == f"api/models/{name}/tree/{repository.commit}":
                self._json([self._entry(repository, file) for file in repository.files])
            else:
                self._file(repository, path)

        def _entry(self, repository: Repository, file: str) -> dict[str, object]:
            content = repository.files[file]
            entry: dict[str, object] = {"type": "file", "path": file, "size": len(content), "oid": "0"}
            if file in repository.lfs:
                truth = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": repository.sha256.get(file, truth), "size": len(content)}
            return entry

        def _file(self, repository: Repository, path: str) -> None:
            file = path.rpartition("/")[2]
            if file not in repository.files or (f"/resolve/{repository.commit}/" not in path and "cdn/" not in path):
                self._say(404)
            elif file in repository.lfs and not path.startswith("cdn/"):
                self._say(302, headers={"Location": f"/cdn/{path.partition('/resolve/')[0]}/{file}"})
            else:
                self._content(repository.files[file])

        def _content(self, content: bytes) -> None:
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            if not wanted:
                self._say(200, content)
                return
            first, _, last = wanted.partition("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            headers = {"Content-Range": f"bytes {start}-{end}/{len(content)}"}
            self._say(206, content[start : end + 1], headers=headers)

        def _json(self, value: object) -> None:
            self._say(200, json.dumps(value).encode())

        def _say(self, status: int, body: bytes = b"", *, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
