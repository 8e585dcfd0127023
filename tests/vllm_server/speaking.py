"""A small server that speaks as vLLM does where it sleeps and wakes, and writes each call down. Knows no model.

Run as `VLLM_PYTHON`. The folder in `SPOKEN` gets `calls`, one line each; a file `fails` there names what fails.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["SPOKEN"])
TOKEN_S = 0.01
base = sys.argv[sys.argv.index("serve") + 1]
adapters: list[str] = []
state = {"sleeps": False, "weights": 0.0}
writing = threading.Lock()


def write(call: str) -> None:
    with writing, (FOLDER / "calls").open("a") as calls:
        calls.write(f"{call}\n")


def fails(what: str) -> bool:
    """Tell whether this is to fail now; each word in the file is for one time."""
    path = FOLDER / "fails"
    words = path.read_text().split() if path.exists() else []
    if what not in words:
        return False
    words.remove(what)
    path.write_text(" ".join(words))
    return True


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer({"data": [{"id": base, "max_model_len": 512}, *({"id": each} for each in adapters)]})
        elif self.path == "/is_sleeping":
            self.answer({"is_sleeping": state["sleeps"]})
        elif self.path == "/metrics":
            self.answer('vllm:lora_requests_info{max_lora="4"} 1\n')
        else:
            self.answer({})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            problem = self.change(body.get("lora_name", ""))
            self.answer({"message": problem}, status=400 if problem else 200)
        elif body["stream"]:
            self.stream(body)
        else:
            self.complete(body)

    def change(self, name: str) -> str:
        """Load, unload, sleep or wake; gives what is wrong with that."""
        if name.startswith("art-asks"):
            return "max_lora_rank 16"
        what = self.path.partition("?")[0].rpartition("/")[2]
        write(f"{what} {name.partition('~')[0]}".strip())
        if fails(what) or (state["sleeps"] and name):
            return "CUDA out of memory"
        if what == "load_lora_adapter":
            adapters.append(name)
        if what in ("sleep", "wake_up"):
            assert self.path in ("/sleep?level=1&mode=wait", "/wake_up"), self.path
            state["sleeps"] = what == "sleep" and not fails("sleep-told")
            state["weights"] += fails("weights")
        if what == "wake_up" and fails("death"):
            os._exit(1)
        return ""

    def complete(self, body: dict[str, Any]) -> None:
        ids = list(range(65, 65 + body["max_tokens"]))
        scores = {"token_logprobs": [0.0] * len(ids), "top_logprobs": None}
        if state["sleeps"]:
            write("asked while it sleeps")
        each = [{str(token): {"logprob": -1.0 - state["weights"]}} for token in body["prompt"]]
        self.answer({"choices": [{"token_ids": ids, "logprobs": scores, "prompt_logprobs": [None, *each[1:]]}]})

    def stream(self, body: dict[str, Any]) -> None:
        ids = range(65, 65 + body["max_tokens"])
        write("begin")
        self.send_response(200)
        self.end_headers()
        for place, token in enumerate(ids):
            time.sleep(TOKEN_S)
            reason = "length" if place == len(ids) - 1 else None
            choice = {"token_ids": [token], "logprobs": {"token_logprobs": [-0.5]}, "finish_reason": reason}
            if reason:
                write("end")
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            self.wfile.flush()

    def answer(self, content: Any, *, status: int = 200) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    write(f"start {'--enable-sleep-mode' in sys.argv} {os.environ.get('VLLM_SERVER_DEV_MODE')}")
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
