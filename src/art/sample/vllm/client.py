"""vLLM's endpoints as calls. Knows what vLLM answers; not when it is asked, nor how a server comes to be."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.errors import InferenceError, LoRAShapeMismatchError, SamplerLostError
from art.sample.vllm.connection import Address, asking
from art.sample.vllm.wire import StreamedPiece, is_lost, message_of, read_piece

PATIENCE_S = 60.0
ANSWER_PATIENCE_S = 600.0
"""How long the next token may take: a server computes long prompts, and lets requests wait."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return message_of(self.body)


class Client:
    """Calls one server. Every call raises `SamplerLostError` where that went away."""

    def __init__(self, address: Address) -> None:
        self.address = address

    async def is_healthy(self) -> bool:
        try:
            async with asking(self.address, "/health", patience_s=PATIENCE_S) as answer:
                return answer.status == 200
        except SamplerLostError:
            return False

    async def get(self, path: str) -> Reply:
        return await self._call(path, None)

    async def text(self, path: str) -> str:
        async with asking(self.address, path, patience_s=PATIENCE_S) as answer:
            return (await answer.read()).decode(errors="replace")

    async def complete_at_once(self, body: dict[str, Any]) -> Reply:
        return await self._call("/v1/completions", {**body, "stream": False}, patience_s=ANSWER_PATIENCE_S)

    async def load(self, name: str, folder: Path) -> Reply:
        return await self._call("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    async def unload(self, name: str) -> Reply:
        return await self._call("/v1/unload_lora_adapter", {"lora_name": name})

    async def sleep(self) -> Reply:
        """Let it give its GPU's memory back: the weights go to the machine's memory, keys and values are forgotten."""
        return await self._call("/sleep?level=1&mode=wait", {}, patience_s=ANSWER_PATIENCE_S)

    async def wake(self) -> Reply:
        return await self._call("/wake_up", {}, patience_s=ANSWER_PATIENCE_S)

    async def is_asleep(self) -> bool | None:
        """None where it does not say."""
        return (await self.get("/is_sleeping")).body.get("is_sleeping")

    async def complete(self, body: dict[str, Any], *, top: int) -> AsyncGenerator[StreamedPiece]:
        """Yield a choice's tokens as they come; leaving the iteration stops the server's work on it."""
        async with asking(self.address, "/v1/completions", body=body, patience_s=ANSWER_PATIENCE_S) as answer:
            if answer.status != 200:
                raise self.refused(_reply(answer.status, await answer.read()))
            async for line in answer.lines():
                piece = read_piece(line, top=top)
                if piece:
                    yield piece
                    if piece.finish_reason:
                        return
        raise SamplerLostError(f"The vLLM server at {self.address} ended an answer before its end. Ask again.")

    def refused(self, reply: Reply) -> InferenceError:
        """Give the error of a request that was refused."""
        if is_lost(reply.message) or reply.status in (404, 502, 503, 504):
            # 404: the server was started again behind our back, and knows no adapter any more.
            return SamplerLostError(
                f"The vLLM server at {self.address} is starting again ({reply.message}). Ask again."
            )
        return InferenceError(f"The vLLM server at {self.address} refused a request ({reply.status}): {reply.message}")

    async def _call(self, path: str, body: dict[str, Any] | None, *, patience_s: float = PATIENCE_S) -> Reply:
        async with asking(self.address, path, body=body, patience_s=patience_s) as answer:
            return _reply(answer.status, await answer.read())


def not_loaded(address: Address, folder: Path, reply: Reply) -> InferenceError | LoRAShapeMismatchError:
    """Give the error of an adapter that a server did not take."""
    where = f"The vLLM server at {address}"
    message = reply.message.removesuffix(", please check the stack trace above for the root cause")
    if is_lost(message):
        return SamplerLostError(f"{where} is starting again ({message}). Publish again.")
    if reply.status == 404 and "No adapter found" in message:
        return InferenceError(
            f"{where} does not see {folder}. It loads adapters from the folders of the root: let it see the root under "
            "the same path."
        )
    if "max_lora_rank" in message:
        return LoRAShapeMismatchError(
            f"{where} does not take {folder}: {message} Start it with a larger --max-lora-rank."
        )
    return InferenceError(f"{where} does not take {folder} ({reply.status}): {message}")


def _reply(status: int, content: bytes) -> Reply:
    try:
        body = json.loads(content)
    except ValueError:
        body = content.decode(errors="replace")
    return Reply(status, body if isinstance(body, dict) else {"message": str(body)})
