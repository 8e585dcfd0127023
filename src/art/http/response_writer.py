"""Answers as OpenAI's responses, and the events of their streams.

An answer has up to three kinds of items: what was thought, what was said, and each call. Beside them stands the same
answer as a chat choice, which says how it was sampled. Knows OpenAI's format; neither the engine nor HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from art.http.answer import Answer
from art.http.completion import ChatWriter
from art.http.responses import ResponseRequest
from art.http.thinking import Split
from art.http.writing import AnsweredRequest, Json
from art.sample.sampling import Drawn

Kind = Literal["reasoning", "message"]
EVENTS: dict[Kind, str] = {"reasoning": "reasoning_text", "message": "output_text"}


class ResponseWriter:
    """Writes the answer of one request."""

    def __init__(self, question: AnsweredRequest) -> None:
        self._question = question
        self._numbers = iter(range(1 << 62))
        self._open: Kind | None = None
        self._text = ""
        self._drawn: list[Drawn] = []
        self._finished: list[Json] = []

    def whole(self, answers: Sequence[Answer]) -> Json:
        (answer,) = answers
        items: list[Json] = []
        if answer.thought:
            items.append(self._item("reasoning", 0, answer.thought, []))
        if answer.content is not None:
            items.append(self._item("message", len(items), answer.content, answer.drawn))
        return self._response(answer, [*items, *self._calls(answer, len(items))])

    def opening(self, index: int) -> Iterator[Json]:
        begun = self._response(None, [])
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)

    def piece(self, index: int, grown: Split, drawn: Sequence[Drawn]) -> Iterator[Json]:
        if grown.thought:
            yield from self._grow("reasoning", grown.thought, [])
        self._drawn += drawn
        if grown.text:
            taken, self._drawn = self._drawn, []
            yield from self._grow("message", grown.text, taken)

    def ending(self, index: int, answer: Answer) -> Iterator[Json]:
        if answer.content == "" and self._open != "message":
            yield from self._begin("message")
        yield from self._end()
        for item in self._calls(answer, len(self._finished)):
            place = {"output_index": len(self._finished), "item_id": item["id"]}
            opened = {**item, "arguments": "", "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=place["output_index"], item=opened)
            arguments = item["arguments"]
            yield self._event("response.function_call_arguments.delta", **place, delta=arguments)
            yield self._event("response.function_call_arguments.done", **place, arguments=arguments, name=item["name"])
            yield self._finish(item)

    def closing(self, answers: Sequence[Answer]) -> Iterator[Json]:
        (answer,) = answers
        response = self._response(answer, self._finished)
        yield self._event(f"response.{response['status']}", response=response)

    def _grow(self, kind: Kind, text: str, drawn: Sequence[Drawn]) -> Iterator[Json]:
        if self._open != kind:
            yield from self._end()
            yield from self._begin(kind)
        self._text += text
        shown = {"logprobs": self._logprobs(drawn)} if kind == "message" else {}
        yield self._event(f"response.{EVENTS[kind]}.delta", **self._place(), delta=text, **shown)

    def _begin(self, kind: Kind) -> Iterator[Json]:
        self._open, self._text = kind, ""
        item = {**self._item(kind, len(self._finished), "", []), "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=len(self._finished), item=item)
        yield self._event("response.content_part.added", **self._place(), part=self._part(kind, "", []))

    def _end(self) -> Iterator[Json]:
        if self._open is None:
            return
        kind, self._text, text = self._open, "", self._text
        shown = {"logprobs": []} if kind == "message" else {}
        yield self._event(f"response.{EVENTS[kind]}.done", **self._place(), text=text, **shown)
        yield self._event("response.content_part.done", **self._place(), part=self._part(kind, text, []))
        yield self._finish(self._item(kind, len(self._finished), text, []))
        self._open = None

    def _finish(self, item: Json) -> Json:
        self._finished.append(item)
        return self._event("response.output_item.done", output_index=len(self._finished) - 1, item=item)

    def _place(self) -> Json:
        assert self._open is not None
        at = len(self._finished)
        return {"output_index": at, "item_id": self._item_id(self._open, at), "content_index": 0}

    def _event(self, kind: str, **fields: object) -> Json:
        return {"type": kind, "sequence_number": next(self._numbers), **fields}

    def _item(self, kind: Kind, at: int, text: str, drawn: Sequence[Drawn]) -> Json:
        role = {"role": "assistant"} if kind == "message" else {"summary": []}
        content = [self._part(kind, text, drawn)]
        return {"id": self._item_id(kind, at), "type": kind, "status": "completed", **role, "content": content}

    def _part(self, kind: Kind, text: str, drawn: Sequence[Drawn]) -> Json:
        if kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self._logprobs(drawn)}

    def _logprobs(self, drawn: Sequence[Drawn]) -> list[Json]:
        """Write the tokens as a chat does, but for bytes that nobody knows, which here are an empty list."""
        return [
            {**_with_bytes(token), "top_logprobs": [_with_bytes(top) for top in token["top_logprobs"]]}
            for token in self._question.tokens(drawn)
        ]

    def _item_id(self, kind: str, at: int) -> str:
        return f"{ {'reasoning': 'rs', 'message': 'msg'}.get(kind, 'fc') }_{self._question.id}_{at}"

    def _calls(self, answer: Answer, start: int) -> list[Json]:
        return [
            {
                "id": self._item_id("function_call", start + number),
                "type": "function_call",
                "status": "completed",
                "call_id": answer.call_id(self._question.prompt_ids, number),
                "name": call.name,
                "arguments": call.arguments,
            }
            for number, call in enumerate(answer.calls)
        ]

    def _response(self, answer: Answer | None, output: list[Json]) -> Json:
        request = self._question.request
        assert isinstance(request, ResponseRequest)
        cut = answer is not None and answer.finish_reason == "length"
        ended: Json = {"status": "in_progress", "usage": None}
        if answer:
            ended = {
                "status": "incomplete" if cut else "completed",
                "usage": self._usage(answer),
                "choices": [ChatWriter(self._question).choice(0, answer)],
            }
        return {
            "id": f"resp_{self._question.id}",
            "object": "response",
            "created_at": self._question.created,
            "model": request.model,
            "system_fingerprint": str(self._question.version),
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            **_completed(request.repeated),
            "output": output,
            **ended,
        }

    def _usage(self, answer: Answer) -> Json:
        count = self._question.usage([answer])
        return {
            "input_tokens": count["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": count["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": count["total_tokens"],
        }


def _with_bytes(token: Json) -> Json:
    return {**token, "bytes": token["bytes"] or []}


def _completed(repeated: Json) -> Json:
    """Give what an answer repeats, with what applies where the request said nothing."""
    standing: Json = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {}}
    return {**repeated, **{name: value for name, value in standing.items() if repeated.get(name) is None}}
