"""The page for every eye and hand: axe-core in all views, tables, paper, and names that a shell would obey."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from art.format import layout
from art.names import ModelRef
from art.store.history import HistoryStore

from .conftest import Page, served
from .story import Branch, tell
from .visit import CHROMIUM, DESKTOP, PHONE, TABLET, Visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
VIEWS = {"w": "why", "Enter": "step", "c": "compare", "f": "fork", "d": "disk", "p": "table", "?": "keys"}
AXE = "axe.run().then((found) => found.violations.map((each) => each.id + each.nodes[0].html))"


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE], ids=["desktop", "tablet", "phone"])
def test_axe_finds_nothing_in_any_view(browser: playwright.Browser, page: Page, size: playwright.ViewportSize):
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    with Visit(browser, page.url, size=size) as visit:
        visit.tab.evaluate(f"{axe};0")
        for _ in ("light", "dark"):
            for key, name in VIEWS.items():
                visit.tab.keyboard.press(key)
                visit.tab.wait_for_timeout(120)

                assert visit.tab.evaluate(AXE) == [], name
            visit.tab.keyboard.press("Escape")
            visit.tab.keyboard.press("p")
            visit.tab.keyboard.press("t")


def test_the_points_are_a_table_that_can_be_copied(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.tab.wait_for_selector(".chart")
        visit.tab.keyboard.press("p")
        visit.wait(".points h2", "Points of agent-004")
        visit.tab.get_by_role("button", name="Copy 2 branches").click()
        visit.wait(".said-line", "Copied.")
        lines = [line.split("\t") for line in visit.tab.evaluate("navigator.clipboard.readText()").splitlines()]
        shown = visit.text(".points tbody tr:last-child")

    assert lines[0][:4] == ["branch", "step", "train/reward", "val/reward"]
    assert len([line for line in lines if line[0] == "shop/agent-004"]) == 78
    assert lines[78][1] == "77"
    assert shown.startswith("77 ")


def test_paper_is_light_and_the_screen_is_as_it_was(browser: playwright.Browser, page: Page):
    with Visit(browser, page.url) as visit:
        visit.tab.keyboard.press("t")
        visit.wait(".toolbar", "Light")
        pdf = visit.tab.pdf(prefer_css_page_size=True)
        visit.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        theme, wide = visit.tab.evaluate(
            "[document.documentElement.dataset.theme, document.querySelector('.u-wrap').offsetWidth]"
        )
        visit.tab.evaluate("dispatchEvent(new Event('afterprint'))")

        assert pdf.count(b"/Type /Page\n") <= 3
        assert (theme, wide < 1040) == ("light", True)
        assert visit.tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_copied_command_does_only_what_it_says_whatever_a_branch_is_called(
    browser: playwright.Browser, tmp_path: Path
):
    name = 'it\'s `touch a` $(touch b) "c"; touch d'
    store = tell(tmp_path / "root", story=(Branch(name=name, last=3, changed={}),))
    with served(store) as page, Visit(browser, page.url) as visit:
        visit.tab.keyboard.press("f")
        visit.tab.keyboard.press("y")
        visit.wait(".said-line", "Copied.")
        command = visit.tab.evaluate("navigator.clipboard.readText()")

    program = f'art() {{ {sys.executable} -c "from art.cli import main; main()" "$@"; }}; {command}'
    done = subprocess.run(
        ["sh", "-c", program], cwd=tmp_path, env={**os.environ, "ART_ROOT": str(store.root)}, check=False
    )
    assert done.returncode == 0
    assert store.steps(ModelRef("shop", f"{name}-2")) == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_branch_that_goes_away_while_it_is_looked_at_gives_way_to_another(
    browser: playwright.Browser, tmp_path: Path
):
    one, two, three = (ModelRef("shop", name) for name in ("one", "two", "three"))
    store = tell(
        tmp_path,
        story=(Branch(name="one", last=6, changed={}), Branch(name="two", source="one", at=3, last=6, changed={})),
    )
    HistoryStore(store.root).append(ModelRef("shop", "numberless"), 1, split="train", metrics={"reward": None})
    with served(store) as page, Visit(browser, f"{page.url}#m=shop/two&t=step&s=6") as visit:
        store.rewind(store.open(one.at(4)))
        store.fork(store.open(one.at(3)), three)
        visit.wait(".row .name", "three")
        for model in (two, three):
            shutil.rmtree(store.root / layout.model_path(model))
        visit.wait(".said-line", "shop/two is gone.")
        for key in ("Enter", "c", "f", "d", "p", "p", "w", "n", "g", "[", "]", " ", "j", "k", "s", "s"):
            visit.tab.keyboard.press(key)
        visit.tab.wait_for_timeout(300)

        assert visit.tab.locator(".row .name").all_inner_texts() == ["numberless", "one"]
        # Chromium tells by itself of what was asked for in the moment of its going.
        assert [problem for problem in visit.problems if "404" not in problem] == []
        visit.problems.clear()
