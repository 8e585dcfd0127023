"""Which of several servers answers."""

from __future__ import annotations

from art.sample.vllm.spread import BLOCK, SLACK, Spread

from .asking import prompt_of

SYSTEM = prompt_of(2 * BLOCK)


def test_a_conversation_stays_with_the_server_that_has_its_beginning():
    spread = Spread(3)
    first = [prompt_of(3 * BLOCK, seed=seed) for seed in range(3)]
    places = [spread.choose(prompt, [0, 0, 0]) for prompt in first]

    again = [spread.choose([*prompt, *prompt_of(40, seed=9)], [0, 0, 0]) for prompt in first]

    assert again == places


def test_what_begins_alike_is_spread_as_soon_as_one_server_has_more():
    spread, loads = Spread(2), [0, 0]

    for seed in range(64):
        loads[spread.choose([*SYSTEM, *prompt_of(50, seed=seed)], loads)] += 1

    assert abs(loads[0] - loads[1]) <= SLACK + 1


def test_the_longest_beginning_wins():
    spread = Spread(2)
    short = spread.choose(SYSTEM, [0, 0])
    long = spread.choose([*SYSTEM, *prompt_of(BLOCK, seed=1)], [SLACK + 1 if place == short else 0 for place in (0, 1)])

    assert long != short
    assert spread.choose([*SYSTEM, *prompt_of(BLOCK, seed=1), 1, 2], [0, 0]) == long
    assert spread.choose([*SYSTEM, 7], [0, 0]) in (0, 1)


def test_new_prompts_go_to_the_idlest():
    assert Spread(3).choose(prompt_of(5), [4, 2, 3]) == 1
