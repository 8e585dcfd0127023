"""How each route reads its requests and writes its answers; between the two, all are served alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from art.http.chat import ChatFormat
from art.http.completion import ChatWriter
from art.http.protocol import ChatRequest, SamplingRequest, parse_chat_request
from art.http.response_writer import ResponseWriter
from art.http.responses import parse_response_request
from art.http.text_completion import TextWriter, parse_text_request, text_prompt_ids
from art.http.writing import AnsweredRequest, Writer


def _chat_prompt_ids(request: SamplingRequest, chat: ChatFormat, context: int) -> tuple[int, ...]:
    assert isinstance(request, ChatRequest)
    return chat.prompt_ids(request, context=context)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One of OpenAI's protocols."""

    parse: Callable[[bytes], SamplingRequest]
    writer: Callable[[AnsweredRequest], Writer]
    prompt_ids: Callable[[SamplingRequest, ChatFormat, int], tuple[int, ...]] = _chat_prompt_ids


CHAT = Codec(parse=parse_chat_request, writer=ChatWriter)
TEXT = Codec(parse=parse_text_request, writer=TextWriter, prompt_ids=text_prompt_ids)
RESPONSES = Codec(parse=parse_response_request, writer=ResponseWriter)
