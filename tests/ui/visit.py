"""A real Chromium, and a tab in it that looks at the page."""

import json
import shutil

from playwright import sync_api as playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

DESKTOP = playwright.ViewportSize(width=1440, height=900)
TABLET = playwright.ViewportSize(width=1024, height=800)
PHONE = playwright.ViewportSize(width=380, height=800)


class Visit:
    """A tab on the page that fails its test for every error and every broken policy."""

    def __init__(self, browser: playwright.Browser, url: str, *, size: playwright.ViewportSize = DESKTOP) -> None:
        self.context = browser.new_context(viewport=size, permissions=["clipboard-read", "clipboard-write"])
        self.tab = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(url)
        self.tab.wait_for_selector("h1")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.problems == []

    def text(self, selector: str) -> str:
        return " ".join(self.tab.inner_text(selector).split())

    def wait(self, selector: str, words: str) -> None:
        self.tab.wait_for_selector(f"{selector}:has-text({json.dumps(words)})", timeout=10_000)
