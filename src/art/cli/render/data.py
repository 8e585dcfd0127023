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


def lines(trained: Trained) -> Iterator[Text]:
    """Yield what a person reads."""
    yield Text.assemble((str(trained.ref), "bold"), f" {_summary(trained)}.")
    yield _proof(trained)
    yield from (Text(f"  {problem}", "red") for problem in trained.problems)
    for each in trained.data_sets.values():
        yield Text(f"  {_position(each)}")
    if trained.scenarios:
        yield Text("")
        yield from _table(trained)


def _summary(trained: Trained) -> str:
    counts = [scenario.total for scenario in trained.scenarios]
    if not counts:
        return f"was trained on nothing that was counted{_since(trained)}"
    often = times(counts[0]) if len(set(counts)) == 1 else f"between {times(min(counts))} and {times(max(counts))}"
    return (
        f"was trained on {wording.count(len(counts), 'scenario')}, each {often}{_since(trained)}{_inherited(trained)}"
    )


def _since(trained: Trained) -> str:
    return f", counted since step {trained.since}" if trained.since else ""


def _inherited(trained: Trained) -> str:
    if trained.forked_at is None:
        return ""
    if any(scenario.inherited is None for scenario in trained.scenarios):
        return (
            f"; how much of it before the fork from {trained.forked_at} is not known, because that checkpoint is gone"
        )
    before = sum(scenario.inherited or 0 for scenario in trained.scenarios)
    return f"; {wording.count(before, 'group')} of {trained.groups:,} before the fork from {trained.forked_at}"


def _proof(trained: Trained) -> Text:
    if trained.problems:
        return Text("✗ The sums are not what the steps say:", "bold red")
    begin = f"on top of what {trained.counted_from} carries" if trained.counted_from else "from the beginning"
    return Text(f"✓ Counted again {begin}: {wording.count(len(trained.recounted), 'step')} say the same.", "green")


def _position(each: SeenSet) -> str:
    epoch, item = divmod(each.front, each.size)
    ahead = sum(end - first for first, end in each.ahead)
    later = f", and {wording.count(ahead, 'item')} behind it" if ahead else ""
    return f"A data set of {each.size:,}: epoch {epoch + 1} goes on at item {item + 1:,}{later}"


def _table(trained: Trained) -> Iterator[Text]:
    usual = sorted(scenario.total for scenario in trained.scenarios)[len(trained.scenarios) // 2]
    shown = sorted(trained.scenarios, key=lambda scenario: (-abs(scenario.total - usual), scenario.key))[:MOST]
    width = max(len("scenario"), *(min(len(scenario.key), WIDTH) for scenario in shown))
    yield Text(f"  {'scenario':<{width}}  {'own':>6}  {'before':>6}  {'all':>6}  prompt", "dim")
    yield from (_row(scenario, width) for scenario in shown)
    if len(trained.scenarios) > len(shown):
        yield Text(f"  ... and {len(trained.scenarios) - len(shown):,} more; --json names them all", "dim")


def _row(scenario: Scenario, width: int) -> Text:
    inherited = "?" if scenario.inherited is None else str(scenario.inherited)
    own = "?" if scenario.inherited is None else str(scenario.total - scenario.inherited)
    key = scenario.key if len(scenario.key) <= WIDTH else f"{scenario.key[: WIDTH - 1]}…"
    return Text(f"  {key:<{width}}  {own:>6}  {inherited:>6}  {scenario.total:>6}  {scenario.prompt or ''}".rstrip())


def times(number: int) -> str:
    """Say how often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")
