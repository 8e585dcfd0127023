"""A person's way through the page, in a real Chromium."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from art.names import CheckpointRef, ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.ui.desk import Desk
from art.ui.server import write_file

from .conftest import TOKEN, Page, served
from .gallery import show_everything
from .story import Branch, group, tell, write_checkpoint
from .visit import CHROMIUM, PHONE, Visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
PAUSE_MS = 450
"""What comes quicker than this, as from a held arrow key, may be one view to go back to."""


def test_the_page_says_what_is_wrong_since_when_and_what_to_do(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.wait(".said", "total total")

        assert visit.text("h1") == "agent-004 collapsed at step 72, reward 0.70 → 0.020"
        assert "Last good step 69. Still running" in visit.text("header.verdict")
        assert "agent-005’s drop was answered by agent-008" in visit.text("header.verdict")
        assert "gradient norm tripled" in visit.text(".evidence")
        assert "art fork shop/agent-004@69" in visit.text(".command")
        assert [url for url in visit.requests if not url.startswith((page.url, "data:"))] == []


def test_the_keyboard_alone_leads_to_a_copied_command_that_works(
    browser: playwright.Browser, page: Page, tmp_path: Path
):
    with Visit(browser, page.url) as visit:
        keys = visit.tab.keyboard
        keys.press("n")
        visit.wait("h2", "agent-005 held-out reward fell")
        keys.press("n")
        visit.wait("h2", "agent-004 collapsed")
        keys.press("g")
        visit.wait("h2", "agent-004@69")
        keys.press("c")
        visit.wait("h2", "Compare")
        keys.press("f")
        visit.wait("h2", "Fork agent-004")
        keys.press("y")
        visit.wait(".said-line", "Copied.")
        command = visit.tab.evaluate("navigator.clipboard.readText()")

    assert command.startswith("art fork shop/agent-004@69 shop/agent-0")
    root = tmp_path / "root"
    shutil.copytree(page.store.root, root)
    program = [sys.executable, "-c", "from art.cli import main; main()", *command.split()[1:], "--root", str(root)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert CheckpointStore(root).find(CheckpointRef.parse(command.split()[3] + "@69"))


def test_every_view_opens_on_a_phone_without_sideways_scroll(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url, size=PHONE) as visit:
        for view in ("Tree", "Why", "Step", "Compare", "Fork", "Disk"):
            visit.tab.get_by_role("tab", name=view).click()
            visit.tab.wait_for_timeout(150)
            wide = visit.tab.evaluate("document.documentElement.scrollWidth")

            assert wide <= PHONE["width"], view


def test_the_same_step_stands_at_the_same_place_in_tree_and_charts(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.tab.wait_for_selector(".chart .u-over")
        lane = visit.tab.evaluate("document.querySelector('.lane .flag').getBoundingClientRect().right")
        over = visit.tab.evaluate("document.querySelector('.chart .u-over').getBoundingClientRect().toJSON()")
        ticks = visit.tab.evaluate(
            "[...document.querySelectorAll('.tick')].map(e => [parseInt(e.textContent.replace('step ', '')),"
            " e.getBoundingClientRect().left + e.getBoundingClientRect().width / 2])"
        )
    (first, left), (last, right) = ticks[0], ticks[-1]
    per_step = (right - left) / (last - first)

    assert abs(left - over["left"]) < 1
    assert abs(lane - (left + 69 * per_step)) < 2


def test_a_step_that_is_written_appears_without_a_reload(browser: playwright.Browser, tmp_path: Path):
    store = tell(tmp_path, story=(Branch(name="one", last=6, changed={}, is_running=True),))
    model, settings = ModelRef("shop", "one"), {"learning_rate": 1e-5}
    with served(store) as page, Visit(browser, page.url) as visit:
        visit.wait(".toolbar", "live")
        parent = store.open(model.at(6))
        write_checkpoint(store, model, 7, parent=parent, settings=settings, reward=0.9)
        written = time.monotonic()
        HistoryStore(store.root).append(model, 6, split="train", metrics={"reward": 0.912})
        visit.wait(".row .newest", "0.91")

        assert time.monotonic() - written < 5
        assert len([url for url in visit.requests if url == page.url]) == 1


def test_a_server_that_comes_back_leaves_no_gap_and_no_double_point(browser: playwright.Browser, tmp_path: Path):
    store = tell(tmp_path, story=(Branch(name="one", last=6, changed={}, is_running=True),))
    model, history = ModelRef("shop", "one"), HistoryStore(store.root)
    with served(store) as page:
        visit = Visit(browser, page.url)
        visit.wait(".toolbar", "live")
    visit.wait(".problem", "Not connected since")
    history.append(model, 6, split="train", metrics={"reward": 0.912})
    with served(store, port=page.port), visit:
        visit.wait(".row .newest", "0.91")
        visit.wait(".chart .legend", "0.91")
        history.append(model, 7, split="train", metrics={"reward": 0.953})
        visit.wait(".chart .legend", "0.95")
        visit.wait(".cost dd", "8")

        assert visit.tab.locator(".problem").count() == 0
        assert len([url for url in visit.requests if url == page.url]) == 1
        # Chromium tells of every refused connection by itself.
        assert all("ERR_" in problem for problem in visit.problems)
        visit.problems.clear()


def test_what_a_store_says_is_text_and_nothing_else(browser: playwright.Browser, tmp_path: Path):
    evil = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 2'>\u202eabc\x1b[31m"
    store = tell(tmp_path, story=(Branch(name="<b>one<", last=4, changed={"note": evil}),))
    model = ModelRef("shop", "<b>one<")
    trajectories = [group(evil, 0.4, lambda _: evil)]
    HistoryStore(store.root).append_trajectories(model, 3, split="train", trajectories=trajectories)
    with served(store) as page, Visit(browser, page.url) as visit:
        visit.tab.keyboard.press("Enter")
        visit.tab.keyboard.press("ArrowLeft")
        visit.wait(".group", "U+202E")
        visit.tab.click(".group:has-text('U+202E') .square >> nth=0")
        visit.wait(".conversation", "onerror")

        assert visit.tab.evaluate("window.evil") is None
        assert "U+001B" in visit.text(".conversation")
        assert [url for url in visit.requests if not url.startswith((page.url, "data:"))] == []


def test_the_fork_button_forks_and_says_with_which_command(browser: playwright.Browser, tmp_path: Path):
    store = tell(tmp_path, story=(Branch(name="one-1", last=4, changed={}),))
    with served(store) as page, Visit(browser, f"{page.url}#token={TOKEN}") as visit:
        visit.tab.keyboard.press("f")
        visit.tab.click("button.go")
        visit.wait(".said-line", f"art fork shop/one-1@4 shop/one-2 --root {tmp_path}")
        visit.tab.fill("label:has-text('new branch') input", "one-1-other")
        store.fork(store.open(ModelRef("shop", "one-1").at(2)), ModelRef("shop", "one-1-other"))
        visit.tab.click("button.go")
        visit.wait("[role=alert]", "it has step 2. Write another name into the field `new branch`.")
        visit.problems.clear()
        visit.tab.fill("label:has-text('new branch') input", "one-3")
        visit.tab.wait_for_selector("[role=alert]", state="detached")

    assert store.steps(ModelRef("shop", "one-2")) == [4]


def test_a_file_of_the_page_opens_offline_and_asks_nobody(browser: playwright.Browser, page: Page, tmp_path: Path):
    target = tmp_path / "report.html"
    write_file(Desk(page.store), target)

    with Visit(browser, target.as_uri()) as visit:
        visit.wait(".said", "total total")
        visit.tab.keyboard.press("g")
        visit.wait(".block", "Rollouts")

        assert visit.requests[0] == target.as_uri()
        assert [url for url in visit.requests[1:] if not url.startswith(("data:", "blob:"))] == []
    assert target.stat().st_size < 300_000


def test_an_empty_store_says_how_to_begin(browser: playwright.Browser, tmp_path: Path):
    with served(CheckpointStore(tmp_path)) as page, Visit(browser, page.url) as visit:
        assert visit.text("h1") == "No models yet"
        assert "LocalBackend" in visit.text(".panel")


def test_a_link_shows_a_colleague_the_same_view(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.tab.keyboard.press("g")
        visit.wait("h2", "agent-004@69")
        visit.tab.keyboard.press("p")
        visit.wait(".points h2", "agent-004")
        address = visit.tab.url.replace("&points", "&z=60-75&points")
    with Visit(browser, address) as visit:
        visit.wait(".panel h2", "agent-004@69")
        visit.wait(".points .dim", "16 steps")
        visit.wait(".toolbar", "Whole axis")


def test_back_and_forward_lead_from_view_to_view(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.wait("h2", "agent-004 collapsed")
        views = [("n", "agent-005 held-out"), ("g", "agent-005@"), ("c", "Compare")]
        for key, words in views:
            visit.tab.wait_for_timeout(PAUSE_MS)
            visit.tab.keyboard.press(key)
            visit.wait(".panel h2", words)
        visit.tab.wait_for_timeout(PAUSE_MS)
        for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "p", "s"):
            visit.tab.keyboard.press(key)
        visit.wait(".panel h2", "agent-005@")

        for _, words in reversed(views):
            visit.tab.go_back()
            visit.wait(".panel h2", words)
        visit.tab.go_back()
        visit.wait(".panel h2", "agent-004 collapsed")
        for _, words in views:
            visit.tab.go_forward()
            visit.wait(".panel h2", words)
        assert [url for url in visit.requests if url == page.url] == [page.url]


def test_a_merge_a_pin_damage_and_a_rewind_are_drawn_and_said(browser: playwright.Browser, tmp_path: Path):
    with served(show_everything(tmp_path)) as page, Visit(browser, page.url + "#m=shop/agent-merged") as visit:
        visit.wait("h3", "Merged from agent-006@80 and agent-008@76")
        assert visit.tab.locator("path.merge").count() == 1
        assert visit.tab.locator("g.pin").count() == 1
        visit.tab.goto(page.url + "#m=shop/agent-008&t=step&s=90")
        visit.wait(".badge", "damaged")
        visit.tab.wait_for_selector("path.damaged", state="attached")
        visit.tab.goto(page.url + "#m=shop/agent-003&t=why")
        visit.wait(".command", "art rewind shop/agent-003 --undo")


def test_the_disk_says_what_other_policies_would_free(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url + "#t=disk") as visit:
        visit.wait(".command", "art gc --keep 'newest:2, best:train/reward' --plan")
        visit.tab.fill(".fields.two input", "newest:1")
        visit.tab.keyboard.press("Tab")
        visit.wait(".command", "art gc --keep newest:1 --plan")
        visit.wait(".split", "could go")
        goes = [int(cell) for cell in visit.tab.locator("tbody tr td:nth-of-type(2)").all_inner_texts()]

        assert goes[0] == 38
        visit.tab.fill(".fields.two input", "everything")
        visit.tab.keyboard.press("Tab")
        visit.wait(".red", "is no policy")
        # Chromium tells of every refusal by itself.
        assert all("400" in problem for problem in visit.problems)
        visit.problems.clear()


@pytest.mark.slow
def test_many_branches_are_folded_and_drawn_quickly(browser: playwright.Browser, tmp_path: Path):
    story = [Branch(name=f"agent-{number:03d}", last=4, changed={}) for number in range(120)]
    store = tell(tmp_path, story=tuple(story))
    with served(store) as page, Visit(browser, page.url) as visit:
        folded, nodes = visit.text(".row.folded"), visit.tab.evaluate("document.getElementsByTagName('*').length")
        visit.tab.click("button.unfold")
        visit.tab.wait_for_timeout(200)
        unfolded = visit.tab.evaluate("document.getElementsByTagName('*').length")

        assert "more" in folded
        assert nodes < 1500
        assert unfolded < 1500
