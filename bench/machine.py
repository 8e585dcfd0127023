"""The first lines of every result: what ran, on what, when. Figures without them are hearsay."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "peft", "obstore", "blake3", "openai")
GIB = 1 << 30


def print_header(title: str) -> None:
    """Print `title` and, as the head of a Markdown list, everything that the figures below it depend on."""
    print(f"# {title}\n")
    for name, value in describe().items():
        print(f"- {name}: {value}")
    print()


def describe() -> dict[str, str]:
    """Give date, commit, machine and versions. Imports none of the packages it names: `imports.py` measures them."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _commit(),
        "processor": f"{_processor()}, {_usable_cpus()} CPUs usable, load {os.getloadavg()[0]:.1f} at the start",
        "memory": f"{_memory_bytes() / GIB:.0f} GiB",
        "accelerator": _accelerator(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(filter(None, map(_installed, PACKAGES))),
    }


def _commit() -> str:
    here = Path(__file__).parent
    commit = _output("git", "-C", str(here), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(here), "status", "--porcelain", "--untracked-files=no")
    return f"{commit or 'unknown'}{' with changes' if changed else ''}"


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _accelerator() -> str:
    return _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader") or "none"


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    print_header("This machine")
