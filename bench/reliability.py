"""Every figure that `docs/reliability.md` states, counted by the tests that it comes from: `make reliability`.

The tests tell what they tried as properties of their report; here they are run, added up, printed, and with `--write`
put into `docs/reliability.json` and the page's table. `--only load` runs one part.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = ROOT / "docs/reliability.json", ROOT / "docs/reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HOSTILE = "hostile files and folders"
PARTS: dict[str, list[str]] = {
    "crashes": ["tests/store/test_crash.py"],
    "power": ["tests/store/test_power.py", "tests/store/test_durability.py"],
    "races": ["tests/store/test_processes.py"],
    "flips": ["tests/store/test_bit_flips.py"],
    "hostile": [
        "tests/store/test_hostile_files.py",
        "tests/store/test_strangers.py",
        "tests/fuzz/test_found.py",
        "tests/fuzz/test_places.py",
        "tests/ops/test_hostile_inputs.py",
    ],
    "fuzz": ["tests/fuzz/test_files.py", "tests/fuzz/test_door.py"],
    "answers": ["tests/remote/test_strange_answers.py"],
    "load": ["tests/sample/test_load.py"],
    "soak": ["tests/local/test_soak.py"],
}
COUNTED_AS = {"hostile": HOSTILE, "answers": "strange answers of a bucket"}
"""Parts whose figure is the number of their tests."""


def run(part: str) -> dict[str, float]:
    """Run the tests of a part; gives their figures. Raises where one fails."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "long or not long", *PARTS[part]]
        report_as = [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        done = subprocess.run([*command, *report_as], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(f"{part}: a test failed, so there is no figure")
        return read(report, part)


def read(report: Path, part: str) -> dict[str, float]:
    """Add up what the tests of a report tell; what begins with a part's name and a colon is a value, and no count."""
    figures: Counter[str] = Counter()
    cases = [case for case in ET.parse(report).iter("testcase") if case.find("skipped") is None]
    for told in (each for case in cases for each in case.iter("property")):
        figures[told.get("name", "")] += float(told.get("value", "0"))  # type: ignore[assignment]
    if part in COUNTED_AS:
        figures[COUNTED_AS[part]] = len(cases)
    return {name: int(value) if value == int(value) else value for name, value in figures.items()}


def commit() -> str:
    """Name the commit that the tests were run at."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def table(record: dict[str, dict[str, dict[str, float]]]) -> str:
    """Write the figures as the page's table."""
    lines = ["| what | figure | command |", "|---|---|---|"]
    for part, figures in record["parts"].items():
        command = f"`make reliability ONLY={part}`"
        lines += [f"| {name} | {value:,} | {command} |" for name, value in sorted(figures.items())]
    return "\n".join(lines)


def with_table(page: str, record: dict[str, dict[str, dict[str, float]]]) -> str:
    """Put the figures between the page's two marks."""
    return re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{table(record)}\n{END}", page, flags=re.DOTALL)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--only", choices=list(PARTS), action="append")
    asked.add_argument("--write", action="store_true")
    options = asked.parse_args()
    record = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"parts": {}, "runs": {}}
    for part in options.only or PARTS:
        began = time.monotonic()
        record["parts"][part] = run(part)
        record["runs"][part] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(time.monotonic() - began),
            "python": platform.python_version(),
            "commit": commit(),
        }
        for name, value in record["parts"][part].items():
            print(f"{value:>12,}  {name}", flush=True)
        if options.write:
            record["parts"] = {name: record["parts"][name] for name in PARTS if name in record["parts"]}
            FIGURES.write_text(json.dumps(record, indent=2) + "\n")
            PAGE.write_text(with_table(PAGE.read_text(), record))


if __name__ == "__main__":
    main()
