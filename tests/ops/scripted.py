"""A trainer without tensors: `scripted.py OUT RESUME HOW`, six steps of a walk that has a momentum and a log.

HOW names what it does wrong: `forgets` its momentum, `counts` its tokens afresh, is `random`, `rotates` its checkpoints
away, or `fails`. A checkpoint is a Trainer's: weights, an archive as torch writes one, and the state with its log. With
`one-file` it is Lightning's: one archive, whose structure names the run's folder.
"""

import json
import os
import struct
import sys
import zipfile
from pathlib import Path


def save(folder: Path, weight: float, momentum: float, log: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(header)) + header + struct.pack("<d", weight)
    (folder / "model.safetensors").write_bytes(content)
    with zipfile.ZipFile(folder / "optimizer.pt", "w") as archive:
        archive.writestr("optimizer/data.pkl", b"not unpickled")
        archive.writestr("optimizer/data/0", struct.pack("<d", momentum))
        archive.writestr("optimizer/.data/serialization_id", os.urandom(8))
    (folder / "training_args.bin").write_bytes(str(folder).encode())
    (folder / "config.json").write_text(json.dumps({"path": str(folder.parent), "targets": list({"a", "b", "c"})}))
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))


def save_file(path: Path, weight: float, momentum: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    named = str(path.parent).encode()
    with zipfile.ZipFile(path, "w") as archive:
        # A text in the form of pickle, with its length before it, which nothing reads.
        archive.writestr("saved/data.pkl", b"\x80\x02X" + struct.pack("<I", len(named)) + named + b".")
        archive.writestr("saved/data/0", struct.pack("<2d", weight, momentum))


def resumed(folder: Path) -> tuple[int, float, float, list[dict[str, float]]]:
    if folder.is_file():
        with zipfile.ZipFile(folder) as archive:
            weight, momentum = struct.unpack("<2d", archive.read("saved/data/0"))
        return int(folder.stem.removeprefix("step=")), weight, momentum, []
    weight = struct.unpack("<d", (folder / "model.safetensors").read_bytes()[-8:])[0]
    momentum = 0.0
    if (folder / "optimizer.pt").exists():
        with zipfile.ZipFile(folder / "optimizer.pt") as archive:
            momentum = struct.unpack("<d", archive.read("optimizer/data/0"))[0]
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return len(log), weight, momentum, log


def main(out: str, resume: str, how: str, form: str = "folder") -> None:
    step, weight, momentum, log = resumed(Path(resume)) if resume else (0, 1.0, 0.0, [])
    momentum = 0.0 if how == "forgets" else momentum
    tokens = log[-1]["tokens"] if log and how != "counts" else 0
    if how == "fails":
        sys.exit("the reward has no server")
    while step < 6:
        step += 1
        noise = os.urandom(1)[0] if how == "random" else 0
        momentum = 0.9 * momentum + weight + noise
        weight -= 0.1 * momentum
        tokens += 10
        log = [*log, {"step": step, "loss": weight, "tokens": tokens, "step_time": float(os.getpid())}]
        if form == "one-file":
            save_file(Path(out, f"step={step}.ckpt"), weight, momentum)
        elif how != "rotates" or step == 6:
            save(Path(out, f"checkpoint-{step}"), weight, momentum, log)


main(*sys.argv[1:])
