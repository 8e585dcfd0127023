"""What notebooks show of models, groups, trajectories and forks: text stays text, and the numbers are theirs."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

import art
from art import drawing
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.ops.portrait import draw_model
from art.store.store import CheckpointStore
from ui.story import STORY, tell

HOSTILE = "<script>alert(1)</script> \x1b[31m & \u202e"


class Page(HTMLParser):
    """Reads a drawing as a browser does: which elements there are, and the text between them."""

    def __init__(self, drawn: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self.feed(drawn)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.append(tag)
        if tag not in ("circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in ("circle", "polyline") or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(drawn: str) -> Page:
    page = Page(drawn)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.elements)
    return page


def trajectory(reward: float, said: str = "fine") -> art.Trajectory:
    return art.Trajectory(
        messages_and_choices=[{"role": "user", "content": "how are you?"}, {"role": "assistant", "content": said}],
        reward=reward,
        metrics={"turns": 1},
    )


def test_a_trajectory_shows_its_turns_and_its_reward():
    page = read(trajectory(0.123456)._repr_html_())

    assert "how are you?" in page.text
    assert "reward 0.1235 · turns 1" in page.text


def test_a_group_shows_the_worst_answer_first_and_how_many_failed():
    group = art.TrajectoryGroup([trajectory(1.0), trajectory(-2.0), ValueError("no server")])

    page = read(group._repr_html_())

    assert "trajectories 2 · failed 1" in page.text
    assert page.text.index("reward -2") < page.text.index("reward 1")
    assert page.elements.count("circle") == 2


@pytest.mark.parametrize("place", ["content", "role", "metric"])
def test_what_somebody_wrote_is_text(place: str):
    message = {"role": HOSTILE if place == "role" else "user", "content": HOSTILE if place == "content" else "x"}
    hostile = art.Trajectory(messages_and_choices=[message], metrics={HOSTILE if place == "metric" else "m": 1})  # pyright: ignore[reportArgumentType]

    page = read(hostile._repr_html_())

    assert "<script>alert(1)</script> \\x1b[31m & U+202E" in page.text


def test_a_long_answer_says_what_is_left_out():
    page = read(trajectory(0.0, "x" * (drawing.SHOWN_CHARACTERS + 5))._repr_html_())

    assert "(5 more characters)" in page.text


def test_an_empty_group_and_a_model_without_a_backend_draw_themselves():
    model = art.TrainableModel(name="agent", project="shop", base_model="base")

    assert "trajectories 0" in read(art.TrajectoryGroup([])._repr_html_()).text
    assert "registered no" in read(model._repr_html_()).text


def test_a_model_shows_its_verdict_its_curve_and_the_way_out(tmp_path: Path):
    tell(tmp_path, story=tuple(branch for branch in STORY if branch.name in ("agent-001", "agent-002", "agent-004")))
    store = CheckpointStore(tmp_path)

    pages = {model.name: read(draw_model(store, model)) for model in store.models()}

    collapsed = next(page for page in pages.values() if "collapsed" in page.text)
    assert "art fork shop/" in collapsed.text
    assert "polyline" in collapsed.elements
    assert "forked from shop/agent-" in pages["agent-004"].text
    assert "none yet" in read(draw_model(store, ModelRef("shop", "nobody"))).text


def test_a_registered_model_asks_its_backend(tmp_path: Path):
    model = art.TrainableModel(name="agent", project="shop", base_model="base")
    model._backend = art.LocalBackend(path=tmp_path)

    assert "shop/agent" in read(model._repr_html_()).text
    assert "none yet" in read(model._repr_html_()).text


def test_a_fork_shows_where_it_came_from_and_what_it_moved(tmp_path: Path):
    tell(tmp_path, story=tuple(branch for branch in STORY if branch.name == "agent-001"))
    store = CheckpointStore(tmp_path)
    source = store.models()[0]
    step = store.steps(source)[0]
    request = ForkRequest(
        source=store, source_model=source, pick=Exact(step), destination=store, model=ModelRef("shop", "b")
    )

    page = read(fork(request)._repr_html_())

    assert f"shop/b@{step}" in page.text
    assert f"from {source}@{step} · pick exactly {step} · bytes shared" in page.text
