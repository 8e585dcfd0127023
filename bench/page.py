"""The page over 200 models of 2,000 steps, in a real Chromium: `python bench/page.py [MODELS STEPS]`.

Makes a root (a few checkpoints of each model, its whole history), serves it, and measures what a person waits for.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from machine import print_header

from art.names import ModelRef
from art.store.store import CheckpointStore
from art.ui.app import create_app
from art.ui.desk import Desk
from art.ui.server import open_listener
from ui.story import Branch, earned, write_checkpoint

KEPT_OF_EACH, PATIENCE_S = 4, 60
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FRAMES = """async () => {
  const body = document.querySelector(".treebody"), times = [];
  let last = performance.now();
  for (let frame = 0; frame < 60; frame += 1) {
    body.scrollTop += 28;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b);
}"""


ALL_DRAWN = """() => {
  const legend = document.querySelector(".chart .legend");
  const values = [...legend.querySelectorAll(".entry b")].map((each) => each.innerText);
  return values.length >= 5 && !values.includes("–");
}"""


SELECT = f"""async () => {{
  const isDrawn = {ALL_DRAWN}, frame = () => new Promise(requestAnimationFrame), started = performance.now();
  for (let turn = 0; turn < 4; turn += 1) {{
    document.querySelector(".row input:not(:checked)").click();
    await frame();
  }}
  while (!isDrawn() && performance.now() - started < {1000 * PATIENCE_S}) await frame();
  await frame();
  await frame();
  return performance.now() - started;
}}"""
"""As the page itself sees it: a driver's clicks wait for things that a hand does not."""


UNIT = """() => {
  const numbers = Array.from({ length: 400000 }, (_, place) => (place * 7919) % 400009);
  return numbers.map((each) => `${each}`).sort().length;
}"""
"""Work of a known size: what the page's own work is measured in, so that a busy machine or a slow one says the same."""
WORK = ("LayoutCount", "RecalcStyleCount", "TaskDuration")


class MainThread:
    """What Chromium's main thread has done: its own counts, and seconds of the processor, not of the clock."""

    def __init__(self, tab: Any) -> None:
        self._session = tab.context.new_cdp_session(tab)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def counts(self) -> dict[str, float]:
        told = self._session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in told if each["name"] in WORK}

    def of(self, work: Callable[[], Any]) -> dict[str, float]:
        before = self.counts()
        work()
        return {name: value - before[name] for name, value in self.counts().items()}


def make(root: Path, models: int, steps: int) -> CheckpointStore:
    """Make branches of a binary tree, each with its whole history and a few checkpoints."""
    store = CheckpointStore(root)
    for number in range(models):
        model, parent = ModelRef("shop", f"agent-{number:03d}"), None
        branch = Branch(name=model.name, last=steps, changed={}, falls_at=steps - 100 if number % 20 == 7 else None)
        source = ModelRef("shop", f"agent-{(number - 1) // 2:03d}")
        first = 0 if number == 0 else steps // 4 * min(3, number.bit_length() // 2)
        if number:
            parent = store.fork(store.open(source.at(_nearest(store, source, first))), model).checkpoint
            first = parent.ref.step
        kept = sorted({first + (steps - first) * place // KEPT_OF_EACH for place in range(1, KEPT_OF_EACH + 1)})
        for step in kept:
            settings = {"learning_rate": 1e-5 * (1 + number % 5)}
            parent = write_checkpoint(store, model, step, parent=parent, settings=settings, reward=0.5)
        path = root / model.project / "models" / model.name / "history.jsonl"
        path.write_bytes(b"".join(_line(branch, step) for step in range(first, steps)))
    return store


def _nearest(store: CheckpointStore, model: ModelRef, step: int) -> int:
    return min(store.steps(model), key=lambda each: abs(each - step))


def _line(branch: Branch, step: int) -> bytes:
    more = {f"train/other_{place}": random.Random(step + place).random() for place in range(10)}
    named = {f"train/{name}": value for name, value in earned(branch, step).items()}
    time = "2026-11-25T03:07:00.000Z"
    return json.dumps({"step": step, "split": "train", "time": time, **named, **more}).encode() + b"\n"


def timed_s(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def measure(url: str, history: Path) -> dict[str, float]:
    """Open the page and do what a person does; milliseconds, bytes and counts by name."""
    found: dict[str, float] = {"first answer of the server, ms": 1000 * timed_s(lambda: _get(url))}
    found["second answer, ms"] = 1000 * timed_s(lambda: _get(url))
    content = _get(url)
    found |= {"first bytes, kB": len(content) / 1e3, "with gzip, kB": len(gzip.compress(content)) / 1e3}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(url)
        tab.wait_for_selector(".row")
        found["first contentful paint, ms"] = tab.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            " - performance.getEntriesByType('navigation')[0].responseEnd"
        )
        tab.wait_for_timeout(1500)
        thread, frames, selected = MainThread(tab), list[float](), list[float]()
        found["the main thread's unit, ms"] = 1000 * (unit_s := thread.of(lambda: tab.evaluate(UNIT))["TaskDuration"])
        work = thread.of(lambda: frames.extend(tab.evaluate(FRAMES)))
        found |= {"scrolling: layouts a frame": work["LayoutCount"] / len(frames)}
        found |= {"scrolling: units for 60 frames": work["TaskDuration"] / unit_s}
        found |= {"scrolling: median frame, ms": frames[len(frames) // 2], "scrolling: worst frame, ms": frames[-1]}
        work = thread.of(lambda: selected.append(tab.evaluate(SELECT)))
        found |= {
            "four more branches drawn, ms": selected[0],
            "four more branches: units": work["TaskDuration"] / unit_s,
        }
        found |= {"four more branches: layouts": work["LayoutCount"]}
        found["DOM nodes"] = tab.evaluate("document.getElementsByTagName('*').length")
        found["JS heap, MB"] = tab.evaluate("performance.memory.usedJSHeapSize") / 1e6
        found["a written step is drawn after, ms"] = 1000 * _live(tab, history)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(f"{url}#m=shop/{history.parent.name}")
        tab.wait_for_selector(".chart")
        tab.wait_for_timeout(1500)
        boxes = tab.locator(".row input:not(:checked)")
        found["four others, by a driver's clicks, ms"] = 1000 * timed_s(lambda: _select(tab, boxes))
        browser.close()
    return found


def _select(tab: Any, boxes: Any) -> None:
    for _ in range(4):
        boxes.first.click()
    _until(lambda: tab.evaluate(ALL_DRAWN))
    tab.evaluate("() => new Promise((over) => requestAnimationFrame(() => requestAnimationFrame(over)))")


def _live(tab: Any, history: Path) -> float:
    """Give the seconds from a line on the disk to the count of steps that the page shows."""
    shown = tab.inner_text(".cost dd")
    line = {"step": 10_000, "split": "train", "time": "2026-11-25T03:08:00.000Z", "train/reward": 0.5}

    def work() -> None:
        with history.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
        _until(lambda: tab.inner_text(".cost dd") != shown)

    return timed_s(work)


def _until(is_so: Callable[[], bool]) -> None:
    # The page's policy forbids what Playwright would wait with: code from a string.
    end_s = time.perf_counter() + PATIENCE_S
    while not is_so():
        if time.perf_counter() > end_s:
            raise TimeoutError(f"The page did not get there within {PATIENCE_S} s.")
        time.sleep(0.01)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def main() -> None:
    print_header("The page over many branches")
    models, steps = (int(each) for each in (sys.argv[1:3] or (200, 2000)))
    with tempfile.TemporaryDirectory() as folder, open_listener(0) as listener:
        made_s = timed_s(lambda: make(Path(folder), models, steps))
        store, port = CheckpointStore(folder), listener.getsockname()[1]
        app = create_app(Desk(store), port=port, token="none")
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        print(f"{models} models of {steps} steps, made in {made_s:.0f} s")
        history = Path(folder) / "shop" / "models" / f"agent-{models - 1:03d}" / "history.jsonl"
        for name, value in measure(f"http://127.0.0.1:{port}/", history).items():
            print(f"{name:<40} {value:>10.4g}", flush=True)
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
