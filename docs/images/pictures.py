"""Take the README's pictures of a root again: `python docs/images/pictures.py [ROOT]`; `make demo` leaves one.

The page in a real Chromium as `page.png`, and what the terminal prints as `terminal.png`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from art.store.store import CheckpointStore
from art.ui.app import create_app
from art.ui.desk import Desk
from art.ui.server import open_listener

HERE = Path(__file__).parent
COMMANDS = ("status", "log --graph", "suggest yes-no-maybe-001")
COLUMNS = 120
MODELS = ("demo/yes-no-maybe-001", "demo/yes-no-maybe-002")
FORMAT = "<pre style='font:14px/1.35 DejaVu Sans Mono,monospace'>{code}</pre>"
STYLE = (
    "body { margin: 0; background: #10141a } pre { display: inline-block; margin: 0; padding: 18px; color: #eceff4 }"
)


def picture_page(root: Path) -> None:
    """Open the page as anybody does, and wait until it has drawn the answers."""
    with open_listener(0) as listener, sync_playwright() as playwright:
        port = listener.getsockname()[1]
        app = create_app(Desk(CheckpointStore(root)), port=port, token="none")
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(f"http://127.0.0.1:{port}/#m={MODELS[0]}&t=why&sel={','.join(MODELS)}")
        tab.wait_for_selector(".said pre")
        tab.wait_for_timeout(1500)
        tab.screenshot(path=HERE / "page.png")
        browser.close()
        server.should_exit = True
        thread.join()


def picture_terminal(root: Path) -> None:
    """Run the commands as a terminal would, and draw what they print."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    program = Path(sys.executable).with_name("art")
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "ART_ROOT": str(root)}
    for command in COMMANDS:
        # `art status` ends with 3 while an alarm is open.
        said = subprocess.run(  # noqa: S603
            [program, *command.split()], env=environment, capture_output=True, text=True, check=False
        )
        console.print(Text(f"$ art {command}", style="bold"))
        console.print(Text.from_ansi(said.stdout.rstrip() + "\n"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 700})
        tab.set_content(
            f"<style>{STYLE}</style>{console.export_html(theme=MONOKAI, inline_styles=True, code_format=FORMAT)}"
        )
        tab.locator("pre").screenshot(path=HERE / "terminal.png")
        browser.close()


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/art")
    picture_page(place)
    picture_terminal(place)
