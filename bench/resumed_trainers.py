"""What a resume of other trainers continues: each case whole, again, resumed and from its weights, by `art certify`.

Every case runs as it is, and as a branch (`art.hf.Branch`). Prints a page like docs/reference/trainers.md: the day
and the releases, and a row for each case with both verdicts (exact; state exact, and the figures of the log that
differ; the first step that differs, and how many pieces; or not deterministic). Needs `pip install --group bench`,
and some 20 quiet minutes. Names of cases, as arguments, run those only.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from resumed_trainer import AT, CASES, STEPS

from art.ops.certify import Certification, Finding, ResumedScript, certify

SCRIPT = Path(__file__).with_name("resumed_trainer.py")
HEAD = """\
# Resumes of other trainers

Each case trains a tiny random model for {steps} steps on a CPU, in float32 with one thread.
[`art certify`](command-line.md#art-certify) resumes it at step {at} in a new process, and compares every tensor and
figure behind it. *As it is* is the trainer alone; *as a branch* is the same script with
[`art.hf.Branch`](../guides/other-trainers.md). `bench/resumed_trainers.py` made this page.

{today}, {versions}.

| case | as it is | as a branch |
|---|---|---|"""


def main(names: list[str]) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft", "accelerate"))
    print(HEAD.format(steps=STEPS, at=AT, today=datetime.now(UTC).date(), versions=packages), flush=True)
    for case in names or CASES:
        print(f"| {case} | {certified(case, 'plain')} | {certified(case, 'branch')} |", flush=True)


def certified(case: str, how: str) -> str:
    words = shlex.join([sys.executable, str(SCRIPT), case])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    script = ResumedScript(command=f"{words} {{out}} {{resume}} {how}", at=AT, end=STEPS, environment=environment)
    with tempfile.TemporaryDirectory() as folder:
        return worded(certify(script, Path(folder)))


def worded(certificate: Certification) -> str:
    resumed = certificate.resumed
    match certificate.verdict:
        case Finding.EXACT:
            return "exact"
        case Finding.STATE_EXACT:
            names = sorted({name for _, name in resumed.figures})
            return f"state exact, log differs: {', '.join(f'`{name}`' for name in names[:3])}"
        case Finding.DIFFERS:
            return f"**differs from step {resumed.first_step} on**, {len(resumed.pieces)} of {resumed.of} pieces"
        case Finding.NOT_DETERMINISTIC:
            return f"not deterministic from step {certificate.again.first_step} on"


if __name__ == "__main__":
    main(sys.argv[1:])
