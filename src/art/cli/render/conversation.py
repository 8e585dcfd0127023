"""Rollouts as lines for a terminal: groups as rows of squares, conversations as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from art.cli.render import wording
from art.ops.rollouts import Rollout, RolloutGroup, Turn

ROLE_WIDTH = 10
LINES_SHOWN, CHARACTERS_SHOWN = 12, 1200


def prompt_words(group: RolloutGroup) -> str:
    """Give what was asked last, on one line."""
    question = next((turn.text for turn in reversed(group.prompt) if turn.role == "user"), group.key)
    return " ".join(question.split())


def group_lines(groups: Sequence[RolloutGroup]) -> Iterator[Text]:
    """Yield a row for each prompt, the worst first: a square for each rollout, filled to its reward."""
    best = max((rollout.reward for group in groups for rollout in group.rollouts), default=0.0)
    for group in groups:
        row = Text("  ")
        for rollout in group.rollouts:
            row.append(*_square(rollout, best))
        mean = f"all {wording.value(group.mean)}" if group.std == 0 else wording.value(group.mean)
        yield row.append(f"  {mean:>10}  ").append(prompt_words(group), "dim")


def chosen_lines(groups: Sequence[RolloutGroup]) -> Iterator[Text]:
    """Yield the best, the worst and the first malformed rollout, each with its prompt."""
    every = [(group, rollout) for group in groups for rollout in group.rollouts]
    if not every:
        return
    chosen = {
        "best": max(every, key=lambda pair: pair[1].reward),
        "worst": min(every, key=lambda pair: pair[1].reward),
        "first malformed": next((pair for pair in every if pair[1].is_malformed), None),
    }
    told: set[int] = set()
    for title, pair in chosen.items():
        if pair is None or id(pair[1]) in told:
            continue
        group, rollout = pair
        told.add(id(rollout))
        yield Text()
        for turn in group.prompt:
            yield from _turn_lines(turn)
        yield from rollout_lines(title, rollout)


def rollout_lines(title: str, rollout: Rollout) -> Iterator[Text]:
    """Yield what a rollout earned, and what was said in it."""
    facts = f"reward {wording.value(rollout.reward)} · advantage {rollout.advantage:+.2f}"
    line = Text.assemble("  ", (title, "bold"), f"  {facts}")
    yield line.append(" · malformed", "red") if rollout.is_malformed else line
    for turn in rollout.turns:
        yield from _turn_lines(turn)


def _turn_lines(turn: Turn) -> Iterator[Text]:
    lines = [*_shortened(turn.text), *(f"→ {name}({arguments})" for name, arguments in turn.calls)]
    if turn.finish == "length":
        lines.append(f"[cut off at {turn.tokens} tokens]" if turn.tokens else "[cut off at the limit]")
    role = "model" if turn.role == "assistant" else turn.role
    for place, line in enumerate(lines or [""]):
        yield Text.assemble((f"    {role if place == 0 else '':<{ROLE_WIDTH}}", "dim"), line)


def _shortened(text: str) -> list[str]:
    lines = text[:CHARACTERS_SHOWN].splitlines()[:LINES_SHOWN]
    shown = sum(len(line) + 1 for line in lines)
    return lines if shown >= len(text) else [*lines, f"[{len(text) - shown + 1:,} more characters]"]


def _square(rollout: Rollout, best: float) -> tuple[str, str]:
    if rollout.is_malformed:
        return "×", "red"
    share = rollout.reward / best if best > 0 else 0.0
    return wording.HEIGHTS[min(7, max(0, int(share * 8)))], "green" if share >= 1 else "blue"
