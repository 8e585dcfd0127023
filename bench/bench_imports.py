"""What `import art` and `art --help` cost, beside what a user imports anyway. Medians of new processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from machine import print_header

RUNS = 9
PROGRAMS = {
    "nothing": ["-c", "pass"],
    "import art": ["-c", "import art"],
    "import art, every light name used": ["-c", "import art; art.TrainableModel; art.gather_trajectory_groups"],
    "import openai": ["-c", "import openai"],
    "import torch": ["-c", "import torch"],
    "art --help": ["-c", "import sys; sys.argv = ['art', '--help']; from art.cli import main; main()"],
}


def main() -> None:
    print_header("Imports")
    # In turn, so that a neighbour's load falls on all of them alike.
    rounds = [{name: seconds(arguments) for name, arguments in PROGRAMS.items()} for _ in range(1 + RUNS)][1:]
    medians = {name: statistics.median(found[name] for found in rounds) for name in PROGRAMS}
    print("| process | median seconds | of `import openai` |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.3f} | {median / medians['import openai']:.2f} |")


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
