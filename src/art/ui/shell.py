"""One HTML document that needs nothing from elsewhere: styles, scripts and first documents are inside.

Its content security policy allows exactly these scripts and styles, by digest.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from art.ui.dense import dense_script, dense_style

STATIC = files("art.ui") / "static"
STYLES = ("vendor/uPlot.css", "page/page.css")
VENDOR = ("vendor/uPlot.js", "vendor/htm-preact.js")
SCRIPTS = ("words", "state", "axis", "tree", "charts", "rollouts", "panel", "keys", "app")
"""The parts of the page's own script, in the order in which they are joined."""
_LEGEND = re.compile(r"[^{}]*\.u-(?:title|legend|inline|series)\b[^{}]*\{[^}]*\}")
"""What uPlot's styles say of a title and a legend, which the page has of its own."""


@dataclass(frozen=True)
class Shell:
    """A page, and the policy that it is served under."""

    html: bytes
    policy: str


def build_shell(
    documents: Mapping[str, Any], *, is_file: bool = False, later: Mapping[str, Any] | None = None
) -> Shell:
    """Put a page together around its first documents; `later` holds those that a file brings along compressed."""
    styles, scripts = _styles(), _scripts()
    policy = _policy(styles, scripts, connects=not is_file)
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if is_file else "",
        '<meta name=viewport content="width=device-width,initial-scale=1"><title>artfork</title>',
        '<link rel=icon href="data:,">',
        f"<style>{styles}</style></head><body><div id=app></div>",
        *(_inline(path, document) for path, document in documents.items()),
        _packed(later) if later else "",
        *(f"<script>{script}</script>" for script in scripts),
        "</body></html>",
    ]
    return Shell("".join(parts).encode(), policy)


def escaped_json(document: Any) -> str:
    """Write JSON that can stand inside a script element."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _inline(path: str, document: Any) -> str:
    return f'<script type="application/json" data-path="{path}">{escaped_json(document)}</script>'


def _packed(documents: Mapping[str, Any]) -> str:
    content = gzip.compress(json.dumps(documents, allow_nan=False, separators=(",", ":")).encode(), mtime=0)
    return f'<script type="application/octet-stream" id="later">{base64.b64encode(content).decode()}</script>'


@cache
def _styles() -> str:
    vendor, own = (dense_style(_read(name)) for name in STYLES)
    return _LEGEND.sub("", vendor) + own


@cache
def _scripts() -> tuple[str, str]:
    parts = "".join(_read(f"page/{name}.js") for name in SCRIPTS)
    own = dense_script(f'(() => {{"use strict";\n{parts}\n}})();')
    return "".join(_read(name) for name in VENDOR), own


def _read(name: str) -> str:
    return STATIC.joinpath(name).read_text(encoding="utf-8")


def _policy(styles: str, scripts: Sequence[str], *, connects: bool) -> str:
    rules = [
        "default-src 'none'",
        f"script-src {' '.join(_digest(script) for script in scripts)}",
        f"style-src {_digest(styles)}",
        f"connect-src {chr(39)}self{chr(39)}" if connects else "connect-src 'none'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    # A policy in a document cannot say who may frame it.
    return "; ".join([*rules, "frame-ancestors 'none'"] if connects else rules)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
