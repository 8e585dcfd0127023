"""Two checkpoints side by side, as lines for a terminal: settings, metrics, updates, the same prompts through both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from art.cli.render import wording
from art.cli.render.conversation import prompt_words, rollout_lines
from art.local.apart import Apart
from art.ops.compare import Comparison, PairedPrompt

if TYPE_CHECKING:
    # Tensors come with what is compared; a program that prints examples needs none.
    from art.adapter.distance import AdapterDistance, Distance

PROMPTS_SHOWN, LAYERS_SHOWN, EXAMPLES_SHOWN = 8, 8, 3
PROMPT_WIDTH = 34
RAIL_WIDTH = 24


def comparison_lines(comparison: Comparison, apart: Apart, *, whole: bool = False) -> Iterator[Text]:
    """Yield where two checkpoints part, what differs, and the prompts with the worst change first."""
    yield _parting(comparison)
    for name, (before, after) in comparison.metrics.items():
        if before != after:
            shown = " → ".join("–" if value is None else wording.metric(name, value) for value in (before, after))
            yield Text(f"  {name:<28} {shown}")
    yield from _update_lines(apart, whole=whole)
    if comparison.prompts:
        yield _counts(comparison.prompts)
        yield from (_pair_line(pair) for pair in comparison.prompts[:PROMPTS_SHOWN])


def example_lines(comparison: Comparison) -> Iterator[Text]:
    """Yield what both answered to the same prompts: regressions, then improvements, then what is malformed now."""
    pairs = comparison.prompts
    yield _parting(comparison)
    if not pairs:
        yield Text(f"No prompt was recorded at both {comparison.first} and {comparison.second}.", "yellow")
        return
    yield _counts(pairs)
    kinds = (
        ("regressions", [pair for pair in pairs if pair.delta < 0]),
        ("improvements", [pair for pair in reversed(pairs) if pair.delta > 0]),
        ("malformed at the second", [pair for pair in pairs if pair.is_newly_malformed]),
    )
    told: set[int] = set()
    for title, members in kinds:
        fresh = [pair for pair in members if id(pair) not in told]
        if members:
            yield Text()
            yield Text(f"{title}: {wording.count(len(members), 'prompt')}", "bold underline")
        for pair in fresh[:EXAMPLES_SHOWN]:
            told.add(id(pair))
            yield from _example(pair, comparison)
        if left := max(0, len(fresh) - EXAMPLES_SHOWN):
            yield Text(f"  and {left} more; --json has all of them", "dim")


def _parting(comparison: Comparison) -> Text:
    parted = f"they part at {comparison.part_at}" if comparison.part_at else "they have no past in common"
    settings = [f"{change.key} {change.before} → {change.after}" for change in comparison.settings]
    return Text(" · ".join([parted, *(settings or ["the same settings"])]))


def _counts(pairs: Sequence[PairedPrompt]) -> Text:
    worse, better = (sum(1 for pair in pairs if sign * pair.delta > 0) for sign in (-1, 1))
    return Text.assemble(
        f"same {wording.count(len(pairs), 'prompt')}  ",
        (f"▼ {worse} worse", "red"),
        f"  = {len(pairs) - worse - better}  ",
        (f"▲ {better} better", "green"),
    )


def _update_lines(apart: Apart, *, whole: bool) -> Iterator[Text]:
    distance = apart.distance
    if distance is None:
        yield Text(f"  the updates were not compared: {apart.problem}", "yellow")
        return
    if not distance.whole.difference:
        yield Text("  the update B·A is the same in every layer")
        return
    yield Text(
        f"  {'update B·A':<28} {'first':>9} {'second':>9} {'apart':>9} {'share':>7} {'cosine':>7}  optimizer", "dim"
    )
    yield _distance_line("all layers", distance.whole)
    order = sorted(distance.layers, key=lambda layer: _share(distance.layers[layer]), reverse=True)
    for layer in order if whole else order[:LAYERS_SHOWN]:
        yield _distance_line(layer, distance.layers[layer])
    if left := _left(distance, whole=whole):
        yield Text(f"  and {wording.count(left, 'layer')} less far apart; --layers shows all", "dim")


def _left(distance: AdapterDistance, *, whole: bool) -> int:
    return 0 if whole else max(0, len(distance.layers) - LAYERS_SHOWN)


def _share(distance: Distance) -> float:
    """Give the difference as a share of the larger update."""
    largest = max(distance.first, distance.second)
    return distance.difference / largest if largest else 0.0


def _distance_line(name: str, distance: Distance) -> Text:
    short = name if len(name) <= 28 else "…" + name[-27:]
    cosine = "–" if distance.cosine is None else f"{distance.cosine:.3f}"
    moments = "–" if distance.moments is None else f"{distance.moments:.1%}"
    numbers = f"{distance.first:>9.4g} {distance.second:>9.4g} {distance.difference:>9.4g}"
    return Text(f"  {short:<28} {numbers} {_share(distance):>7.1%} {cosine:>7}  {moments}")


def _pair_line(pair: PairedPrompt) -> Text:
    words = prompt_words(pair.first)
    short = words if len(words) <= PROMPT_WIDTH else words[: PROMPT_WIDTH - 1] + "…"
    values = f"{wording.value(pair.first.mean)} → {wording.value(pair.second.mean)}"
    return Text.assemble(
        f"  {short:<{PROMPT_WIDTH}} ", (_rail(pair), "red" if pair.delta < 0 else "green"), f" {values}"
    )


def _rail(pair: PairedPrompt) -> str:
    """Draw a rail from 0 to 1 with the first mean as ○ and the second as ●."""
    first, second = (round(min(1.0, max(0.0, group.mean)) * (RAIL_WIDTH - 1)) for group in (pair.first, pair.second))
    low, high = sorted((first, second))
    rail = ["━" if low <= place <= high else " " for place in range(RAIL_WIDTH)]
    rail[first], rail[second] = "○", "●"
    return "".join(rail)


def _example(pair: PairedPrompt, comparison: Comparison) -> Iterator[Text]:
    """Yield a prompt, the first's best answer to it, and the second's worst, or best where that is the news."""
    yield Text()
    yield Text.assemble((prompt_words(pair.first), "bold"), f"  {pair.first.mean:.2f} → {pair.second.mean:.2f}")
    worst_first = pair.delta > 0
    first = sorted(pair.first.rollouts, key=lambda each: each.reward, reverse=not worst_first)[0]
    second = sorted(pair.second.rollouts, key=lambda each: each.reward, reverse=worst_first)[0]
    if pair.is_newly_malformed:
        second = next((each for each in pair.second.rollouts if each.is_malformed), second)
    yield from rollout_lines(str(comparison.first), first)
    yield from rollout_lines(str(comparison.second), second)
