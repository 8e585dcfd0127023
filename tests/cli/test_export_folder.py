"""`art export MODEL@STEP FOLDER`: an adapter, or a merged model, for other programs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adapters import write_random_adapter
from art.config import LoRAConfig
from art.format.manifest import BaseModelInfo, LoRAShape
from art.local.gguf import PROGRAMS
from art.names import ModelRef
from art.store.store import CheckpointStore
from small import byte_tokenizer, small_causal_lm, write_small_model
from store.conftest import tree

from .conftest import Art

TRAINED = ModelRef("shop", "trained").at(3)


@pytest.fixture
def base(store: CheckpointStore, tmp_path: Path) -> Path:
    """A base model, and a checkpoint of ours over it in the store."""
    base = write_small_model(tmp_path / "base")
    adapter = write_random_adapter(tmp_path / "adapter", small_causal_lm(byte_tokenizer()), lora=LoRAConfig(rank=4))
    commit_adapter(store, adapter, base=base)
    return base


def commit_adapter(store: CheckpointStore, adapter: Path, *, base: Path) -> None:
    with store.stage(TRAINED) as stage:
        for path in adapter.iterdir():
            (stage.path / path.name).write_bytes(path.read_bytes())
        stage.commit(
            parent=None,
            base_model=BaseModelInfo(id=str(base), fingerprint="0" * 64),
            lora=LoRAShape(rank=4, alpha=16, targets=("q_proj",)),
        )


def test_an_adapter_is_written_alone(art: Art, store: CheckpointStore, base: Path, tmp_path: Path):
    done = art("export", "shop/trained@3", str(tmp_path / "mine"))

    assert done.returncode == 0, done.stderr
    assert sorted(tree(tmp_path / "mine")) == ["adapter_config.json", "adapter_model.safetensors"]
    assert "an adapter" in done.stdout


@pytest.mark.slow
def test_a_merged_model_is_written_and_a_base_that_moved_is_named(
    art: Art, store: CheckpointStore, base: Path, tmp_path: Path
):
    moved = base.rename(tmp_path / "moved")

    lost = art("export", "shop/trained", str(tmp_path / "mine"), "--merge")
    done = art("export", "shop/trained", str(tmp_path / "mine"), "--merge", "--base-model", str(moved))

    assert (lost.returncode, "cannot be loaded" in lost.stderr) == (1, True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a float32 model" in done.stdout
    assert load_file(tmp_path / "mine/model.safetensors").keys() == load_file(moved / "model.safetensors").keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop/trained@3",), "Name a FOLDER for a checkpoint, or --to TRACKER"),
        (("shop/trained@3", "{}/mine", "--to", "jsonl"), "Name a FOLDER for a checkpoint, or --to TRACKER"),
        (("shop/trained", "--to", "jsonl", "--merge"), "--merge, --gguf and --base-model belong to a FOLDER"),
        (("shop/trained@3", "{}/mine", "--metrics-only"), "--metrics-only and --price belong to --to"),
        (("shop/trained@3", "{}/mine", "--base-model", "x"), "--base-model belongs to --merge and --gguf"),
        (("shop/trained@3", "{}/adapter"), "is there already"),
        (("shop/trained@4", "{}/mine"), "shop/trained@4"),
        (("s3://bucket::shop/trained@3", "{}/mine"), "works on this disk only"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    art: Art, store: CheckpointStore, base: Path, tmp_path: Path, words: tuple[str, ...], said: str
):
    before = tree(tmp_path)

    done = art("export", *(word.format(tmp_path) for word in words))

    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert tree(tmp_path) == before


def test_gguf_without_a_converter_says_what_is_missing_and_writes_nothing(art: Art, base: Path, tmp_path: Path):
    done = art("export", "shop/trained@3", str(tmp_path / "mine"), "--gguf", PATH=str(tmp_path))

    assert done.returncode == 1
    assert "convert_hf_to_gguf.py" in done.stderr
    assert not list(tmp_path.glob("*mine*"))


@pytest.mark.slow
def test_a_converter_that_fails_is_quoted_and_leaves_nothing(art: Art, base: Path, tmp_path: Path):
    converter = tmp_path / "llama/convert_hf_to_gguf.py"
    converter.parent.mkdir()
    converter.write_text("import sys; sys.exit('this architecture is unheard of')")

    done = art("export", "shop/trained@3", str(tmp_path / "mine"), "--gguf", LLAMA_CPP=str(converter.parent))

    assert done.returncode == 1
    assert "this architecture is unheard of" in done.stderr
    assert not list(tmp_path.glob("*mine*"))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason="needs convert_hf_to_gguf.py of llama.cpp on the PATH")
def test_the_file_in_gguf_is_the_merged_model(art: Art, store: CheckpointStore, smollm2: Path, tmp_path: Path):
    # The converter knows tokenizers by name, and none of a small model's.
    module = AutoModelForCausalLM.from_pretrained(smollm2)
    adapter = write_random_adapter(tmp_path / "adapter", module, lora=LoRAConfig(rank=4))
    commit_adapter(store, adapter, base=smollm2)

    art("export", "shop/trained@3", str(tmp_path / "whole"), "--merge")
    done = art("export", "shop/trained@3", str(tmp_path / "mine"), "--gguf")

    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["trained-3.gguf"]
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").state_dict()
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "mine", gguf_file="trained-3.gguf").state_dict()
    assert whole.keys() == read.keys()
    assert all(torch.allclose(whole[name], read[name], atol=1e-6) for name in whole)
