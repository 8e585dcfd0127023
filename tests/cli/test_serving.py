"""`art serve` and `art chat`: a committed checkpoint answers, over OpenAI's client and at the terminal."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from adapters import write_random_adapter
from art.cli.talk import Talk
from art.config import LoRAConfig
from art.errors import BaseModelMismatchError
from art.format.manifest import BaseModelInfo, LoRAShape
from art.local.serving import Door, serve_checkpoint
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from fuzz.files import NO_FILES as PLACED
from small import byte_tokenizer, small_causal_lm
from store.conftest import tree

from .conftest import Art

MODEL = ModelRef("shop", "served")
NO_FILES = [put for put in PLACED if put.__name__ != "_link_to_key"]
"""The key lies beside a root of the fuzzer's."""


@pytest.fixture
def served(store: CheckpointStore, small_model: Path, tmp_path: Path) -> CheckpointStore:
    """The store with two steps of a model over the small base: other weights at each."""
    for step, seed in ((1, 1), (2, 2)):
        lora = LoRAConfig(rank=4)
        folder = tmp_path / str(step)
        adapter = write_random_adapter(folder, small_causal_lm(byte_tokenizer()), lora=lora, seed=seed)
        with store.stage(MODEL.at(step)) as stage:
            for path in adapter.iterdir():
                (stage.path / path.name).write_bytes(path.read_bytes())
            stage.commit(
                parent=store.newest(MODEL),
                base_model=BaseModelInfo(id=str(small_model)),
                lora=LoRAShape(rank=4, alpha=lora.alpha, targets="all-linear"),
            )
    return store


@pytest.mark.slow
def test_a_served_checkpoint_answers_until_ctrl_c_and_nothing_was_written(served: CheckpointStore):
    before = tree(served.root)
    program = [Path(sys.executable).with_name("art"), "serve", "shop/served@1", "--json"]
    environment = {**os.environ, "ART_ROOT": str(served.root)}
    with subprocess.Popen(
        program, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        door = json.loads("".join(lines))
        client = openai.OpenAI(base_url=door["base_url"], api_key=door["api_key"], max_retries=0)
        names = [model.id for model in client.models.list()]
        answer = client.chat.completions.create(
            model=door["model"], messages=[{"role": "user", "content": "hi"}], max_tokens=3
        )
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="another").models.list()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert door["ref"] == "shop/served@1"
    assert names[0] == "served"
    assert {"served@1", "served@2"} <= set(names)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert process.returncode == 0
    assert said == "shop/served@1 is not served any more.\n"
    assert tree(served.root) == before


def test_a_chat_answers_one_prompt_and_each_step_with_its_own_weights(art: Art, served: CheckpointStore):
    asked = ("--prompt", "say something", "--temperature", "0", "--max-tokens", "12", "--json")

    first, second, again = (json.loads(art("chat", f"shop/served@{step}", *asked).stdout) for step in (1, 2, 1))

    assert first["ref"] == "shop/served@1"
    assert first["tokens"] == 12 or first["finish"] == "stop"
    assert first == again
    assert first["answer"] != second["answer"]


def test_a_checkpoint_is_asked_with_the_template_that_its_script_had_set(
    art: Art, served: CheckpointStore, small_model: Path
):
    newest = served.open(MODEL.at(2))
    with served.stage(MODEL.at(3)) as stage:
        for path in newest.path.glob("adapter*"):
            (stage.path / path.name).write_bytes(path.read_bytes())
        stage.commit(
            parent=newest,
            base_model=BaseModelInfo(id=str(small_model)),
            lora=newest.manifest.lora,
            environment={"chat_template": "{{ messages[0].content }}!"},
        )

    with serve_checkpoint(served, served.open(MODEL.at(3))) as door:
        client = openai.OpenAI(base_url=door.base_url, api_key=door.key)
        answer = client.chat.completions.create(
            model=door.model, messages=[{"role": "user", "content": "hi"}], max_tokens=1
        )

    assert byte_tokenizer().decode(answer.choices[0].prompt_token_ids) == "hi!"  # type: ignore[attr-defined]
    assert "chat_template  of the script, 26 characters" in art("show", "shop/served@3").stdout


def test_lines_of_a_pipe_are_turns_of_one_conversation(
    art: Art, served: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\nand now?\n"))

    done = art("chat", "shop/served", "--system", "Be brief.", "--max-tokens", "4", "--seed", "1")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 2
    assert "\x1b" not in done.stdout


def test_a_chat_begins_as_its_rollouts_began_or_says_how_they_did(
    art: Art, served: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    shared = [{"role": "system", "content": "One\x1b word."}, {"role": "user", "content": "hi"}]
    groups = [
        json.dumps({"trajectories": [{"messages_and_choices": [*shared, {"role": "user", "content": text}]}]})
        for text in ("a", "b")
    ]
    HistoryStore(served.root).append_trajectories(MODEL, 1, split="train", trajectories=groups)
    asked: list[list[Any]] = []
    monkeypatch.setattr(Talk, "ask", lambda talk, text: asked.append([*talk._messages, text]))

    told = art("chat", "shop/served", "--prompt", "why?")
    begun = art("chat", "shop/served", "--prompt", "why?", "--as-trained")
    both = art("chat", "shop/served", "--prompt", "why?", "--as-trained", "--system", "x")

    assert asked == [["why?"], [*shared, "why?"]]
    assert "began with 2 messages" in told.stderr
    assert r"--as-trained begins so: system: One\x1b word." in told.stderr
    assert (begun.stderr, both.returncode) == ("", 2)


def test_a_question_that_is_refused_is_one_line_and_the_conversation_goes_on(
    art: Art, served: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    too_long = "x" * 200_000
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{too_long}\nhello\n"))

    alone = art("chat", "shop/served", "--prompt", too_long)
    in_turn = art("chat", "shop/served", "--max-tokens", "4")

    assert (alone.returncode, in_turn.returncode) == (1, 0)
    for done in (alone, in_turn):
        assert "Traceback" not in done.stderr
        assert "The question was not answered (400)" in done.stderr
        assert len(done.stderr) < 1000
    assert in_turn.stdout


def test_another_base_is_refused_by_its_fingerprint(served: CheckpointStore, small_model: Path):
    checkpoint = served.open(MODEL.at(1))
    with served.stage(MODEL.at(3)) as stage:
        for path in checkpoint.path.glob("adapter*"):
            (stage.path / path.name).write_bytes(path.read_bytes())
        info = BaseModelInfo(id=str(small_model), fingerprint="0" * 64)
        other = stage.commit(parent=served.newest(MODEL), base_model=info, lora=checkpoint.manifest.lora)

    with pytest.raises(BaseModelMismatchError), serve_checkpoint(served, other):
        pass


def test_a_step_of_anything_but_files_is_refused_and_the_others_answer(served: CheckpointStore):
    folder = served.open(MODEL.at(1)).path
    contents = {name: (folder / name).read_bytes() for name in ("adapter_model.safetensors", "checkpoint.json")}

    with serve_checkpoint(served, served.open(MODEL.at(2))) as door, client_of(door) as client:
        for (name, content), put in itertools.product(contents.items(), NO_FILES):
            path = folder / name
            path.unlink()
            put(path)
            refused, other = (client.post("completions", json=asked(f"served@{step}")) for step in (1, 2))
            assert (refused.status_code // 100, other.status_code) in ((4, 200), (5, 200)), put
            assert refused.json()["error"]["code"] != "internal_error", put
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(content)
        assert client.post("completions", json=asked("served@1")).status_code == 200


def client_of(door: Door) -> httpx.Client:
    return httpx.Client(base_url=door.base_url, headers={"Authorization": f"Bearer {door.key}"}, timeout=60)


def asked(model: str) -> dict[str, object]:
    return {"model": model, "prompt": "hi", "max_tokens": 1}


def test_what_cannot_be_served_says_why(art: Art, store: CheckpointStore, served: CheckpointStore):
    (served.open(MODEL.at(2)).path / "adapter_model.safetensors").write_bytes(b"x")

    damaged = art("chat", "shop/served@2", "--prompt", "hi")
    missing = art("serve", "shop/served@9")
    unclear = art("chat", "shop/served@1", "--json")

    assert (damaged.returncode, missing.returncode, unclear.returncode) == (1, 1, 2)
    assert "adapter_model.safetensors" in damaged.stderr
    assert "--json belongs to --prompt" in unclear.stderr
