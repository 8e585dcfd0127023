"""How `make docs` builds the site: from the pages as they stand in the repository, so a link works here and there."""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import cast

from sphinx.application import Sphinx

HERE = Path(__file__).parent
BEGIN = '<!doctype html><meta charset="utf-8"><title>artfork</title><meta http-equiv="refresh" content="0; url={}">'

project = "artfork"
author = "The artfork maintainers"
version = release = version_of("artfork")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["docs/**", "*.md", "bench/README.md", "changelog.d/README.md"]
exclude_patterns = [".*", "src", "tests", "examples", "build", "dist", "demo-out", "docs/site/contents.md"]

myst_heading_anchors = 4
suppress_warnings = ["toc.not_included"]  # a new page is found by the search, until it has its place

default_role = "code"  # docstrings write code in single backticks
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config, model_post_init",  # pydantic's own
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"artfork {version}"
html_copy_source = False
html_show_sphinx = False


def _add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give the README the site's table of contents, which a code host would show as text."""
    if page == root_doc:
        source[0] += (HERE / "contents.md").read_text()


def _begin_at_the_readme(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        (app.outdir / "index.html").write_text(BEGIN.format("README.html"))


def _let_plurals_follow_code(*event: object) -> None:
    """Let a letter follow a backtick, as in Markdown."""
    lines = cast("list[str]", event[-1])
    lines[:] = [re.sub(r"(?<!`)(`[^`]+`)(?=[a-z])", r"\1\\ ", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Connect what the pages by themselves cannot say."""
    app.connect("source-read", _add_contents)
    app.connect("autodoc-process-docstring", _let_plurals_follow_code)
    app.connect("build-finished", _begin_at_the_readme)
