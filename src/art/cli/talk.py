"""A conversation with a served checkpoint, through OpenAI's own client. Knows a terminal; knows no store."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from httpx import HTTPError
from openai import APIError, APIStatusError, OpenAI

from art.cli.render import output
from art.errors import InferenceError
from art.visible import visible

if TYPE_CHECKING:
    from art.local.serving import Door


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except HTTPError as error:
        raise InferenceError(f"The answer broke off: {error}") from error
    except APIError as error:
        # Of what the server answered only the words: the rest is for programs.
        words = error.body.get("message") if isinstance(error.body, dict) else None
        status = f" ({error.status_code})" if isinstance(error, APIStatusError) else ""
        raise InferenceError(f"The question was not answered{status}: {words or error.message}") from error


@dataclass(frozen=True)
class Answering:
    """How answers are sampled."""

    temperature: float
    max_tokens: int
    seed: int | None = None


class Talk:
    """One conversation: each question is asked with all that was said before."""

    def __init__(self, door: Door, answering: Answering, *, before: Iterable[Any] = ()) -> None:
        self._client = OpenAI(base_url=door.base_url, api_key=door.key, max_retries=0)
        self._door, self._answering = door, answering
        self._messages: list[Any] = list(before)

    def go_on(self) -> None:
        """Answer line by line until the input ends. Ctrl-C ends an answer, and between answers the conversation."""
        is_terminal = sys.stdin.isatty()
        if is_terminal:
            output.say(f"{self._door.ref} answers; Ctrl-D ends the conversation.")
        while (line := self._line(is_terminal=is_terminal)) is not None:
            if not line.strip():
                continue
            try:
                self.ask(line)
            except InferenceError as error:
                output.say(f"{error} The conversation goes on without this.", style="red")
            except KeyboardInterrupt:
                sys.stdout.write("\n")
                output.say("The answer was cut off; the conversation goes on.")

    def ask(self, text: str) -> None:
        """Print an answer while it comes; it stays in the conversation, as far as it came.

        Raises `InferenceError` for what is not answered, which the conversation then never had.
        """
        before = len(self._messages)
        self._messages.append({"role": "user", "content": text})
        pieces: list[str] = []
        try:
            with _explained(), self._client.chat.completions.create(**self._request(), stream=True) as chunks:
                for chunk in chunks:
                    piece = chunk.choices[0].delta.content if chunk.choices else None
                    if piece:
                        pieces.append(piece)
                        sys.stdout.write("\n".join(map(visible, piece.split("\n"))))
                        sys.stdout.flush()
        except InferenceError:
            del self._messages[before:]
            raise
        except KeyboardInterrupt:
            self._messages.append({"role": "assistant", "content": "".join(pieces)})
            raise
        self._messages.append({"role": "assistant", "content": "".join(pieces)})
        sys.stdout.write("\n")

    def whole(self, text: str) -> dict[str, Any]:
        """Ask once, and give the answer, why it ended, and how many tokens it has; raises `InferenceError`."""
        self._messages.append({"role": "user", "content": text})
        with _explained():
            completion = self._client.chat.completions.create(**self._request())
        choice, usage = completion.choices[0], completion.usage
        calls = choice.message.tool_calls or []
        return {
            "answer": choice.message.content or "",
            "calls": [call.model_dump(mode="json") for call in calls],
            "finish": choice.finish_reason,
            "tokens": usage.completion_tokens if usage else None,
        }

    def _request(self) -> dict[str, Any]:
        how = self._answering
        request = {"model": self._door.model, "messages": self._messages, "max_tokens": how.max_tokens}
        seeded = {} if how.seed is None else {"seed": how.seed}
        return {**request, "temperature": how.temperature, **seeded}

    @staticmethod
    def _line(*, is_terminal: bool) -> str | None:
        try:
            return input("> " if is_terminal else "")
        except (EOFError, KeyboardInterrupt):
            return None
