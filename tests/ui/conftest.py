"""The page on a port, over a made store."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from playwright import sync_api as playwright

from art.http.limits import Limits
from art.store.store import CheckpointStore
from art.ui.app import create_app
from art.ui.desk import Desk
from art.ui.server import LIMITS, configured, open_listener

from .story import tell
from .visit import CHROMIUM, FLAGS

TOKEN = "token-of-the-test"


@dataclass(frozen=True)
class Page:
    """Where the page answers, and the store behind it."""

    url: str
    port: int
    store: CheckpointStore


@contextmanager
def served(
    store: CheckpointStore, *, allow_fork: bool = True, port: int = 0, limits: Limits = LIMITS
) -> Generator[Page]:
    with open_listener(port) as listener:
        port = listener.getsockname()[1]
        app = create_app(Desk(store), port=port, token=TOKEN, allow_fork=allow_fork)
        server = uvicorn.Server(configured(app, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Page(f"http://127.0.0.1:{port}/", port, store)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    with served(tell(tmp_path_factory.mktemp("story"))) as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Generator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()
