"""Files of other trainers and of strangers, given to the operations: refused by name, in bounded time and memory."""

import contextlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import JsonValue
from safetensors.torch import save_file

from adapters import adapter_bytes
from art.adapter.loading import load_base
from art.adapter.merging import merge_adapters
from art.backend import Trainable
from art.errors import (
    ArtError,
    BaseModelMismatchError,
    CorruptCheckpointError,
    LoRAShapeMismatchError,
    ModelNotFoundError,
)
from art.format.json import parse
from art.format.manifest import BaseModelInfo, threads_of
from art.format.merge import Method
from art.local.compatible import check_base
from art.model import TrainableModel
from art.names import ModelRef
from art.ops.contents import pieces_of
from art.ops.plan import plan
from art.ops.rerun import plan_rerun
from art.ops.saved import checkpoints_in
from art.store.store import CheckpointStore
from fuzz.world import bounded
from store.conftest import adapter_config, write_checkpoint

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
METHODS = [Method(name=name) for name in ("linear", "slerp", "ties")]


def adapter(folder: Path, low_A: torch.Tensor, low_B: torch.Tensor, *, alpha: float = 16) -> Path:
    folder.mkdir()
    tensors = {f"{LAYER}.lora_A.weight": low_A, f"{LAYER}.lora_B.weight": low_B}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": len(low_A), "lora_alpha": alpha, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_an_adapter_whose_merge_is_not_finite_is_named(tmp_path: Path, method: Method, value: float):
    good = adapter(tmp_path / "good", torch.ones(4, 8), torch.ones(8, 4))
    bad = adapter(tmp_path / "bad", torch.full((4, 8), value), torch.full((8, 4), value))

    with pytest.raises(CorruptCheckpointError, match=r"not finite, in model\.layers\.0\.self_attn\.q_proj"):
        merge_adapters(good, bad, tmp_path, method=method)

    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_a_merge_that_takes_a_whole_update_of_terabytes_is_refused_before_memory_is_taken(tmp_path: Path):
    wide = adapter(tmp_path / "wide", torch.ones(1, 400_000), torch.ones(400_000, 1))

    with bounded(), pytest.raises(LoRAShapeMismatchError, match="160,000,000,000"):
        merge_adapters(wide, wide, tmp_path, method=METHODS[2])


def archive(path: Path, content: bytes, *, how: int = zipfile.ZIP_STORED) -> bytearray:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", how) as file:
        file.writestr("archive/data.pkl", content)
    return bytearray(written.getvalue())


def compressed(path: Path) -> None:
    path.write_bytes(archive(path, bytes(2**28), how=zipfile.ZIP_DEFLATED))


def encrypted(path: Path) -> None:
    content = archive(path, b"x" * 100)
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def of_an_unknown_method(path: Path) -> None:
    content = archive(path, b"x" * 100)
    content[8] = content[content.find(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)


@pytest.mark.parametrize("write", [compressed, encrypted, of_an_unknown_method])
def test_an_archive_that_is_none_of_torchs_is_compared_as_it_is(tmp_path: Path, write: Callable[[Path], None]):
    write(tmp_path / "optimizer.pt")

    with bounded():
        (name,) = pieces_of(tmp_path, out=tmp_path)

    assert (name.file, name.part) == ("optimizer.pt", "")


def test_an_archive_whose_members_share_their_bytes_is_refused(tmp_path: Path):
    content = archive(tmp_path, b"x" * 4096)
    begin = content.find(b"PK\x01\x02")
    end = content.find(b"PK\x05\x06")
    entry, tail = content[begin:end], content[end:]
    tail[8:12] = (50).to_bytes(2, "little") * 2
    tail[12:16] = (50 * len(entry)).to_bytes(4, "little")
    (tmp_path / "optimizer.pt").write_bytes(content[:begin] + entry * 50 + tail)

    with pytest.raises(CorruptCheckpointError, match=r"optimizer\.pt is a damaged archive"):
        pieces_of(tmp_path, out=tmp_path)


CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 300,
}  # fmt: skip
NO_COUNTS = ["x", -1, 0, 1e308, 10**40, True, None, [1], {}, 1.5, "\x1b[31m"]


@pytest.mark.parametrize("field", [*CONFIG, "head_dim", "text_config"])
def test_a_models_configuration_is_counted_or_refused(tmp_path: Path, field: str):
    for value in NO_COUNTS:
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, field: value}))
        with contextlib.suppress(ArtError):
            assert plan(str(tmp_path), gpu_memory=24).total_bytes > 0


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_a_configuration_that_is_no_file_is_named(tmp_path: Path, put: Callable[[Path], None]):
    put(tmp_path / "config.json")

    with bounded(), pytest.raises(CorruptCheckpointError, match="opens nothing but regular files"):
        plan(str(tmp_path), gpu_memory=24)


@pytest.mark.parametrize("threads", [0, -1, 10**9, True, "8", "8\0", None, 1.5, [8]], ids=repr)
def test_a_count_of_threads_that_no_machine_has_is_passed_over(threads: object):
    assert threads_of({"threads": threads}) is None
    assert threads_of({"threads": 8}) == 8


HOSTILE = "\x1b]0;owned\x07\u202e\x9b31m"


def test_no_error_and_no_line_of_the_log_acts_on_a_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store, ref = CheckpointStore(tmp_path), ModelRef("shop", "agent-1")
    manifest = write_checkpoint(store, ref, 1).manifest
    model: Trainable = TrainableModel(name="agent-1", project="shop", base_model="tiny")
    named = manifest.model_copy(update={"base_model": BaseModelInfo(id=HOSTILE, fingerprint="f" * 64)})

    with pytest.raises(BaseModelMismatchError) as raised:
        check_base(model, named, BaseModelInfo(id="tiny", fingerprint="e" * 64))
    with caplog.at_level(logging.WARNING, "art"):
        check_base(model, named, BaseModelInfo(id="tiny", fingerprint="f" * 64))
    with pytest.raises(CorruptCheckpointError) as unread:
        parse(b"{", where=HOSTILE)

    assert str(raised.value).isprintable()
    assert str(unread.value).isprintable()
    assert caplog.messages
    assert all(message.isprintable() for message in caplog.messages)


@pytest.mark.parametrize("name", ["checkpoint-٣", "checkpoint-²", "checkpoint-3 ", "checkpoint-3\n", "checkpoint--3"])
def test_a_folder_whose_name_only_looks_like_a_step_is_no_checkpoint(tmp_path: Path, name: str):
    for folder in (name, "checkpoint-0003"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "trainer_state.json").write_text("{}")

    assert checkpoints_in(tmp_path) == {3: tmp_path / "checkpoint-0003"}


@pytest.mark.parametrize("name", ["loss", "kl_reference", "beta", "micro_batch_tokens", "learning_rate", "x"])
@pytest.mark.parametrize("value", [[], {}, [[1]], "x" * 10_000, -1, 10**15, 1e300, True, None, {"a": [1]}], ids=repr)
def test_a_setting_that_no_step_was_taken_with_is_told(tmp_path: Path, name: str, value: JsonValue):
    store, model = CheckpointStore(tmp_path / "root"), ModelRef("shop", "evil")
    with store.stage(model.at(1)) as stage:
        (stage.path / "adapter_config.json").write_bytes(adapter_config())
        (stage.path / "adapter_model.safetensors").write_bytes(adapter_bytes(b"weights"))
        (stage.path / "trainer.json").write_text("{}")
        checkpoint = stage.commit(settings={"loss": "cispo", name: value})

    missing = plan_rerun(store, checkpoint, tmp_path)

    assert isinstance(missing, list)
    assert max(map(len, missing)) < 1000


@pytest.mark.parametrize(
    "name", ["x" * 5000, "../" * 2000, "\u202egnol", "\x1b[2J", "nowhere/\0"], ids=["x", "up", "d", "c", "0"]
)
def test_a_base_model_that_cannot_be_is_named_briefly(name: str):
    with pytest.raises(ModelNotFoundError) as caught:
        load_base(name, device=torch.device("cpu"), dtype="auto")

    assert len(str(caught.value)) < 1500
