"""A server leaves its GPU to a training step and comes back. A small server speaks vLLM's calls: no GPU was there."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from art.errors import ConfigurationError
from art.sample.base import LoadedBase
from art.sample.version import BASE
from art.sample.vllm.factory import VLLM
from art.sample.vllm.sampler import VLLMSampler

from .asking import begin, finish, launch_of, new_version, prompt_of, sample, sampler_of

SPEAKING = Path(__file__).with_name("speaking.py")
OLD, NEW = new_version(1), new_version(2)


class Spoken:
    """A sampler whose server sleeps, and what that server was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sampler: VLLMSampler = sampler_of(launch_of(folder, sleeps=True))

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def write(self, call: str) -> None:
        with (self.folder / "calls").open("a") as calls:
            calls.write(f"{call}\n")

    def fail(self, what: str) -> None:
        (self.folder / "fails").write_text(what)


@pytest.fixture
def spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spoken]:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(SPEAKING)!r}, run_name='__main__')\n")
    python.chmod(0o755)
    monkeypatch.setenv("VLLM_PYTHON", str(python))
    monkeypatch.setenv("SPOKEN", str(tmp_path))
    spoken = Spoken(tmp_path)
    spoken.sampler.publish(BASE, None)
    spoken.sampler.publish(OLD, tmp_path)
    yield spoken
    spoken.sampler.close()
    for log in Path(tmp_path.anchor).glob("tmp/art-vllm-*.log"):
        if str(SPEAKING) in log.read_text(errors="replace"):
            log.unlink()


def test_requests_end_then_it_sleeps_and_what_came_meanwhile_is_answered_after_the_step(spoken: Spoken):
    sampler = spoken.sampler

    async def run() -> list[int]:
        running = asyncio.create_task(finish(begin(sampler, prompt_of(3), version=OLD, max_tokens=60)))
        await eventually(lambda: "begin" in spoken.calls())
        resting = sampler.resting()
        await asyncio.to_thread(resting.__enter__)
        waiting = asyncio.create_task(finish(begin(sampler, prompt_of(3), version=OLD, max_tokens=4)))
        await asyncio.sleep(0.2)
        spoken.write("train")
        await asyncio.to_thread(resting.__exit__, None, None, None)
        await asyncio.to_thread(sampler.publish, NEW, spoken.folder)
        return [len(tokens) for answer in (await running, await waiting) for tokens in answer.values()]

    lengths = asyncio.run(run())

    calls = spoken.calls()
    assert lengths == [60, 4]
    assert calls[:7] == ["start True 1", f"load_lora_adapter {OLD}", "begin", "end", "sleep", "train", "wake_up"]
    assert sorted(calls[7:]) == ["begin", "end", f"load_lora_adapter {NEW}"]


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("sleep", r"does not sleep \(400\): CUDA out of memory It is stopped"),
        ("sleep-told", "was put to sleep, and is awake. It is stopped"),
        ("wake_up", r"does not wake \(400\): CUDA out of memory It is started again"),
        ("weights", "woke with other weights.* 1 nats a token from those before. It is started again"),
        ("death", "does not answer.* It is started again"),
    ],
)
def test_a_server_that_does_not_sleep_or_wake_is_started_again_with_what_was_published(
    spoken: Spoken, failing: str, words: str, caplog: pytest.LogCaptureFixture
):
    spoken.fail(failing)

    with spoken.sampler.resting():
        spoken.write("train")
    answer = asyncio.run(sample(spoken.sampler, prompt_of(3), version=OLD, max_tokens=2))

    assert [len(tokens) for tokens in answer.values()] == [2]
    calls = spoken.calls()
    started, loaded = "start True 1", f"load_lora_adapter {OLD}"
    assert calls[-4:] == [started, loaded, "begin", "end"]
    assert calls.count(started) == 2
    assert "asked while it sleeps" not in calls
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(words, record.getMessage())


def test_an_error_in_the_step_is_passed_on_and_the_server_wakes(spoken: Spoken):
    with pytest.raises(ZeroDivisionError), spoken.sampler.resting():
        raise ZeroDivisionError

    assert spoken.calls()[-2:] == ["sleep", "wake_up"]


def test_adapters_come_and_go_when_it_is_awake_again(spoken: Spoken):
    with spoken.sampler.resting():
        spoken.sampler.retire(OLD)
        publishing = threading.Thread(target=spoken.sampler.publish, args=(NEW, spoken.folder))
        publishing.start()
        time.sleep(0.2)
        during = spoken.calls()[-1]
    publishing.join()

    assert during == "sleep"
    waited = [f"load_lora_adapter {NEW}", f"unload_lora_adapter {OLD}"]
    asyncio.run(eventually(lambda: sorted(spoken.calls()[-2:]) == waited))


def test_closing_while_it_sleeps_ends_the_server_and_the_step_goes_on(spoken: Spoken):
    with spoken.sampler.resting():
        spoken.sampler.retire(OLD)
        spoken.sampler.close()

    assert spoken.calls()[-1] == "sleep"


class OnGPU(LlamaForCausalLM):
    """A model that says it lies on a GPU."""

    place = torch.device("cuda")

    @property
    def device(self) -> torch.device:
        return self.place


@pytest.mark.parametrize(
    ("chosen", "place", "sleeps"),
    [
        (VLLM(), "cuda", True),
        (VLLM(), "cuda:0", True),
        (VLLM(), "cuda:1", False),
        (VLLM(sleeps=True), "cuda:1", True),
        (VLLM(sleeps=False), "cuda", False),
        (VLLM(), "cpu", False),
    ],
)
def test_a_server_sleeps_where_training_has_its_gpu(
    chosen: VLLM, place: str, sleeps: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)

    launch = chosen.launch(a_base(place))

    assert launch.sleeps is sleeps
    assert ("--enable-sleep-mode" in launch.command(1)) is sleeps
    assert (launch.environment().get("VLLM_SERVER_DEV_MODE") == "1") is sleeps


@pytest.mark.parametrize(
    ("chosen", "place", "why"),
    [
        (VLLM(sleeps=True), "cpu", "one on a CPU answers nobody once it slept"),
        (VLLM(sleeps=True, urls=("http://127.0.0.1:1",)), "cuda", "one that runs belongs to others too"),
    ],
    ids=["cpu", "others"],
)
def test_a_server_that_cannot_sleep_is_not_told_to(chosen: VLLM, place: str, why: str):
    with pytest.raises(ConfigurationError, match=why):
        chosen(a_base(place))


def a_base(place: str) -> LoadedBase:
    config = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=40)
    module = OnGPU(config)
    module.place = torch.device(place)
    return LoadedBase(id="base", module=module, tokenizer=PreTrainedTokenizerBase())


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)
