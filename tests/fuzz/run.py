"""Fuzz one target for a while, guided by what its examples reach: `python -m fuzz.run documents 30`.

Started by `make fuzz`, in an environment that has atheris. Examples that reach something new are kept in `build/fuzz`,
and those in `corpus/` are where it begins. It ends with the first example that fails, and writes it into a file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import mkdtemp

import atheris

GROWN = Path(__file__).parents[2] / "build/fuzz"
FOLLOWED = [
    "art.format",
    "art.store",
    "art.ops",
    "art.adapter",
    "art.train.state",
    "art.http",
    "art.spelling",
    "art.calls",
]


def main(target: str, seconds: str) -> None:
    with atheris.instrument_imports(include=FOLLOWED, enable_loader_override=False):
        from .mutation import INPUT_BYTES
        from .targets import CORPUS, opened

        check = opened(target, Path(mkdtemp(prefix="art-fuzz-")))
    grown = GROWN / target
    grown.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": seconds,
        "max_len": INPUT_BYTES,
        "artifact_prefix": f"{GROWN}/{target}-",
        "print_final_stats": 1,
        "verbosity": 0,
        # The targets have bounds of their own on time and memory, and a timer for them. Zero would mean one second.
        "timeout": 24 * 3600,
        "rss_limit_mb": 0,
    }
    said = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *said, str(grown), str(CORPUS / target)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
