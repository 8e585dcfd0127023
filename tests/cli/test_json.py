"""`--json` is what docs/reference/json.md says: every field of every document is there, of the kind that is written."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from art.ops.continuation import Verdict
from art.store.store import CheckpointStore
from ui.story import STORY, tell

from .conftest import BRANCH, MAIN, Art

SCRIPTED = Path(__file__).parents[1] / "ops/scripted.py"
PAGE = Path(__file__).parents[2] / "docs/reference/json.md"
KINDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    dict: "object",
    list: "list",
    type(None): "null",
}
FREE = "free object"
"""A field of this kind holds names of the user's, or what another page describes: nobody looks inside."""
MEANT = {FREE: {FREE, "object"}, "number": {"number", "integer"}}
"""Kinds that are written in more than one way."""

ABSENT = "absent"
"""A field of this kind is left out where there is nothing to say."""

Documented = dict[str, set[str]]


@pytest.fixture
def documents(art: Art, store: CheckpointStore, tmp_path: Path) -> dict[str, Any]:
    """One real document of each command, on stores in which there is something to say."""
    return {**documents_of_checkpoints(art, store, tmp_path), **documents_of_runs(art, tmp_path / "story")}


def documents_of_runs(art: Art, root: Path) -> dict[str, Any]:
    tell(root, story=tuple(branch for branch in STORY if branch.name in ("agent-001", "agent-002", "agent-004")))
    commands = {
        "status": ("status",),
        "gc --keep": ("gc", "--keep", "newest:1", "--plan"),
        "log --lanes": ("log", "--lanes"),
        "log --history": ("log", "shop/agent-004", "--history"),
        "suggest": ("suggest", "shop/agent-004"),
        "data": ("data", "shop/agent-004"),
        "diff": ("diff", "shop/agent-002@51", "shop/agent-004@75"),
        "show --rollouts": ("show", "shop/agent-004@75", "--rollouts"),
    }
    answers = {name: art(*words, "--json", root=root) for name, words in commands.items()}
    assert [answer.stderr for answer in answers.values() if answer.stderr] == []
    return {name: json.loads(answer.stdout) for name, answer in answers.items()}


def documents_of_checkpoints(art: Art, store: CheckpointStore, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    (store.root / "shop/models/agent-1/checkpoints/0160").mkdir()
    theirs = store.root / "shop/models/agent-1/checkpoints/0170"
    theirs.mkdir()
    (theirs / "theirs.bin").write_bytes(b"x")
    broken = store.root / "shop/models/broken"
    broken.mkdir()
    (broken / "journal.json").write_text("{")
    (store.open(MAIN.at(150)).path / "trainer.json").unlink()
    (store.open(BRANCH.at(150)).path / "adapter_config.json").unlink()
    commands = {
        "push": ("push", "agent-1@100", url),
        "pull": ("pull", f"{url}::shop/agent-1"),
        "show": ("show", "agent-2@100"),
        "replay": ("replay", "agent-2@100"),
        "fork": ("fork", "agent-1@100", "agent-2", "--overwrite"),
        "log": ("log",),
        "plan": ("plan", str(write_config(tmp_path)), "--gpu-memory", "80"),
        "sign": ("sign", "agent-1@100", "--key", str(write_key(tmp_path / "key"))),
        "verify": ("verify", "--repair", "--signature", "--key", str(tmp_path / "key.pub")),
        "gc": ("gc",),
        "mcp": ("mcp", "--list", "--allow", "pin"),
        "pin": ("pin", "agent-2@100"),
        "unpin": ("unpin", "agent-2@100"),
        "export": ("export", "agent-1", "--to", "jsonl"),
        "commit": ("commit", str(theirs), "shop/theirs@1", "--metric", "loss=0.5"),
        "watch": ("watch", str(store.root.parent), "shop/watched", "--idle", "0", "--every", "0.05"),
        "certify": ("certify", f"{sys.executable} {SCRIPTED} {{out}} {{resume}} counts", "--at", "3", "--end", "6"),
        "checkout": ("checkout", "shop/theirs", str(tmp_path / "mine")),
        "rewind": ("rewind", "agent-1@50"),
        "rewind --undo": ("rewind", "--undo", "agent-1"),
        "rm": ("rm", "agent-1@50..100", "--keep-last", "1", "--yes"),
    }
    answers = {name: art(*words, "--json") for name, words in commands.items()}
    assert [answer.stderr for answer in answers.values() if answer.stderr] == []
    return {name: json.loads(answer.stdout) for name, answer in answers.items()}


def write_key(path: Path) -> Path:
    """Write a private key, and beside it the public one."""
    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    form, public_form = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(pem, public_form))
    return path


def write_config(folder: Path) -> Path:
    values = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({**values, "vocab_size": 300}))
    return folder


def test_every_document_is_the_one_that_the_page_describes(documents: dict[str, Any]):
    page = documented()

    assert set(documents) <= set(page)
    for name, document in documents.items():
        found = dict[str, set[str]]()
        for path, kind in fields(document, page[name]):
            found.setdefault(path, set()).add(kind)
        undescribed = {path: kinds - page[name].get(path, set()) for path, kinds in found.items()}
        assert {path: kinds for path, kinds in undescribed.items() if kinds - {"list"}} == {}, name
        missing = [path for path, kinds in page[name].items() if path not in found and ABSENT not in kinds]
        assert [path for path in missing if not is_inside_of_nothing(path, found)] == [], name


def is_inside_of_nothing(path: str, found: Documented) -> bool:
    """Tell whether a field is missing because what holds it was null, or an empty list."""
    above = path.replace("[]", "").rpartition(".")[0]
    holders = {known.replace("[]", ""): kinds for known, kinds in found.items()}
    return bool(above) and (bool(holders.get(above, set()) & {"null", "list"}) or is_inside_of_nothing(above, found))


def test_the_page_says_which_version_it_describes(documents: dict[str, Any]):
    (version,) = re.findall(r"^Schema (\d+)", PAGE.read_text(), re.MULTILINE)

    assert {document["schema"] for document in documents.values()} == {int(version)}


def test_the_page_has_the_fields_of_the_three_way_check():
    fields_of_verdict = {field.name for field in dataclasses.fields(Verdict)}

    assert set(documented()["verify --continuation"]) == {"schema", *fields_of_verdict}


def documented() -> dict[str, Documented]:
    """Read the tables of the page: for each command the kinds of each field."""
    page: dict[str, Documented] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, re.MULTILINE)
        page[heading.removeprefix("art ")] = {
            path: {kind for word in kinds.split(" or ") for kind in MEANT.get(word.strip(), {word.strip()})}
            for path, kinds in [("schema", "integer"), *rows]
        }
    return page


def fields(value: Any, wanted: Documented, path: str = "") -> Iterator[tuple[str, str]]:
    """Name every field of a document by its path, and its kind; not inside of what is free."""
    if path:
        yield path, kind_of(value)
    if isinstance(value, list):
        for item in (item for item in value if isinstance(item, dict)):
            yield from _inside(item, wanted, f"{path}[]")
    elif isinstance(value, dict) and FREE not in wanted.get(path, set()):
        yield from _inside(value, wanted, path)


def _inside(value: dict[str, Any], wanted: Documented, path: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        yield from fields(inner, wanted, f"{path}.{name}" if path else name)


def kind_of(value: Any) -> str:
    if not isinstance(value, list):
        return KINDS[type(value)]
    kinds = {KINDS[type(item)] for item in value}
    return f"list of {kinds.pop()}s" if len(kinds) == 1 else "list"
