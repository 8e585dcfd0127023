"""What `art data` prints: the sums, what proves them, where the run is in its data, and each scenario."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from art.cli.render import wording
from art.format.seen import SeenSet
from art.ops.trained import Scenario, Trained

MOST = 40
"""So many scenarios are shown, the most uneven first; `--json` has all."""
WIDTH = 20


def lines(found: Trained) -> Iterator[Text]:
    """Yield what a person reads."""
    yield Text.assemble((str(found.ref), "bold"), f" {_summary(found)}.")
    yield _proof(found)
    yield from (Text(f"  {problem}", "red") for problem in found.problems)
    for each in found.data_sets.values():
        yield Text(f"  {_position(each)}")
    if found.scenarios:
        yield Text("")
        yield from _table(found)


def _summary(found: Trained) -> str:
    counts = [scenario.total for scenario in found.scenarios]
    if not counts:
        return f"was trained on nothing that was counted{_since(found)}"
    often = times(counts[0]) if len(set(counts)) == 1 else f"between {times(min(counts))} and {times(max(counts))}"
    return f"was trained on {wording.count(len(counts), 'scenario')}, each {often}{_since(found)}{_inherited(found)}"


def _since(found: Trained) -> str:
    return f", counted since step {found.since}" if found.since else ""


def _inherited(found: Trained) -> str:
    if found.forked_at is None:
        return ""
    if any(scenario.inherited is None for scenario in found.scenarios):
        return f"; how much of it before the fork from {found.forked_at} is not known, because that checkpoint is gone"
    before = sum(scenario.inherited or 0 for scenario in found.scenarios)
    return f"; {wording.count(before, 'group')} of {found.groups:,} before the fork from {found.forked_at}"


def _proof(found: Trained) -> Text:
    if found.problems:
        return Text("✗ The sums are not what the steps say:", "bold red")
    begin = f"on top of what {found.counted_from} carries" if found.counted_from else "from the beginning"
    return Text(f"✓ Counted again {begin}: {wording.count(len(found.recounted), 'step')} say the same.", "green")


def _position(each: SeenSet) -> str:
    epoch, item = divmod(each.front, each.size)
    ahead = sum(end - first for first, end in each.ahead)
    later = f", and {wording.count(ahead, 'item')} behind it" if ahead else ""
    return f"A data set of {each.size:,}: epoch {epoch + 1} goes on at item {item + 1:,}{later}"


def _table(found: Trained) -> Iterator[Text]:
    usual = sorted(scenario.total for scenario in found.scenarios)[len(found.scenarios) // 2]
    shown = sorted(found.scenarios, key=lambda scenario: (-abs(scenario.total - usual), scenario.key))[:MOST]
    width = max(len("scenario"), *(min(len(scenario.key), WIDTH) for scenario in shown))
    yield Text(f"  {'scenario':<{width}}  {'own':>6}  {'before':>6}  {'all':>6}  prompt", "dim")
    yield from (_row(scenario, width) for scenario in shown)
    if len(found.scenarios) > len(shown):
        yield Text(f"  ... and {len(found.scenarios) - len(shown):,} more; --json names them all", "dim")


def _row(scenario: Scenario, width: int) -> Text:
    inherited = "?" if scenario.inherited is None else str(scenario.inherited)
    own = "?" if scenario.inherited is None else str(scenario.total - scenario.inherited)
    key = scenario.key if len(scenario.key) <= WIDTH else f"{scenario.key[: WIDTH - 1]}…"
    return Text(f"  {key:<{width}}  {own:>6}  {inherited:>6}  {scenario.total:>6}  {scenario.prompt or ''}".rstrip())


def times(number: int) -> str:
    """Say how often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")
