"""Answers as chat completions, and the chunks of their streams. Knows OpenAI's format; neither the engine nor HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from art.http.answer import Answer
from art.http.thinking import Split
from art.http.writing import AnsweredRequest, Json
from art.sample.sampling import Drawn
from art.trajectories import STAYS_WITH_LITELLM


class ChatWriter:
    """Writes the answers of one request."""

    def __init__(self, question: AnsweredRequest) -> None:
        self._question = question
        self._begun: set[int] = set()

    def whole(self, answers: Sequence[Answer]) -> Json:
        return {
            **self._head("chat.completion"),
            "choices": [self.choice(index, answer) for index, answer in enumerate(answers)],
            "usage": self._question.usage(answers),
        }

    def opening(self, index: int) -> Iterator[Json]:
        yield self._chunk([_chunk_choice(index, {"role": "assistant", "content": ""})])

    def piece(self, index: int, grown: Split, drawn: Sequence[Drawn]) -> Iterator[Json]:
        delta = {"content": grown.text} if grown.text else {}
        if grown.thought:
            delta["reasoning_content"] = grown.thought
        yield self._chunk([{**_chunk_choice(index, delta), "logprobs": self._logprobs(index, drawn)}])

    def ending(self, index: int, answer: Answer) -> Iterator[Json]:
        """Write a choice's last chunk: its tool calls, why it ended, and how it was sampled."""
        calls = [{"index": number, **call} for number, call in enumerate(self._calls(answer))]
        sampled = self._question.sampled(answer).as_fields()
        # LiteLLM drops the log-probabilities of a stream that it puts together, and keeps what stands under this name.
        kept = {name: value for name, value in sampled.items() if name != "prompt_token_ids"}
        delta = {STAYS_WITH_LITELLM: kept, **({"tool_calls": calls} if calls else {})}
        yield self._chunk([{**_chunk_choice(index, delta), "finish_reason": answer.finish_reason, **sampled}])

    def closing(self, answers: Sequence[Answer]) -> Iterator[Json]:
        options = self._question.request.stream_options
        if options and options.include_usage:
            yield {**self._chunk([]), "usage": self._question.usage(answers)}

    def choice(self, index: int, answer: Answer) -> Json:
        """Write a whole choice; it can be trained on."""
        message: Json = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.thought:
            message["reasoning_content"] = answer.thought
        if answer.calls:
            message["tool_calls"] = self._calls(answer)
        return {
            "index": index,
            "message": message,
            "finish_reason": answer.finish_reason,
            "logprobs": self._logprobs(index, answer.drawn),
            **self._question.sampled(answer).as_fields(),
        }

    def _head(self, kind: str) -> Json:
        return {
            "id": f"chatcmpl-{self._question.id}",
            "object": kind,
            "created": self._question.created,
            "model": self._question.request.model,
            # Whatever the request called the model: this is what answered.
            "system_fingerprint": str(self._question.version),
        }

    def _chunk(self, choices: list[Json]) -> Json:
        return {**self._head("chat.completion.chunk"), "choices": choices}

    def _calls(self, answer: Answer) -> list[Json]:
        return [
            {
                "id": answer.call_id(self._question.prompt_ids, number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(answer.calls)
        ]

    def _logprobs(self, index: int, drawn: Sequence[Drawn]) -> Json:
        """Write tokens; the first one of a choice also says which weights drew it, for clients that keep only these."""
        tokens = self._question.tokens(drawn)
        if tokens and index not in self._begun:
            self._begun.add(index)
            tokens[0]["version"] = str(self._question.version)
        return {"content": tokens, "refusal": None}


def _chunk_choice(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
