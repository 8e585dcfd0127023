"""What a mirror costs: the same training steps with and without `LocalBackend(remote=...)`, on Ceph's object gateway.

SmolLM2-135M as in `bench_grpo_step.py`, deterministic, so that both sides compute the same numbers. A bucket is
elsewhere and this gateway is not, so it runs at the lowest priority: what remains is mostly our own part. Needs root:
`.venv/bin/python bench/mirror.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_grpo_step import run_art
from machine import print_header
from tests.remote import servers

BUCKET, ROUNDS = "mirror", 3


def main() -> None:
    print_header("Training steps, mirrored to a bucket or not")
    seconds: dict[str, list[float]] = {"not mirrored": [], "mirrored": []}
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    with tempfile.TemporaryDirectory() as folder, servers.ceph(Path(folder) / "ceph") as server:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.environ.update(server.environment())
        server.client().create_bucket(Bucket=BUCKET)
        for turn in range(ROUNDS):
            for name, remote in (("not mirrored", None), ("mirrored", f"s3://{BUCKET}/{turn}")):
                # The first step warms up, and the one after it is the first with a push beside it.
                seconds[name] += [step["step"] for step in run_art(deterministic=True, remote=remote)[1:]]
    plain = median(seconds["not mirrored"])
    print("| | step, s: median | fastest | slowest | ratio |\n|---|---|---|---|---|")
    for name, found in seconds.items():
        print(f"| {name} | {median(found):.2f} | {min(found):.2f} | {max(found):.2f} | {median(found) / plain:.3f} |")


if __name__ == "__main__":
    main()
