"""retry, limit_concurrency and iterate_dataset, as rollouts use them."""

import asyncio
import time

import pytest

import art
from art.errors import ConfigurationError
from art.utils import iterate_dataset, limit_concurrency


def flaky(failures: int, error: Exception) -> tuple[list[int], object]:
    """An async function that fails that often, and the list that counts its calls."""
    calls: list[int] = []

    async def call(value: str, *, suffix: str = "") -> str:
        """Say hello."""
        calls.append(1)
        if len(calls) <= failures:
            raise error
        return value + suffix

    return calls, call


def test_retry_tries_until_it_works():
    calls, call = flaky(2, TimeoutError("slow"))
    noted: list[tuple[str, int]] = []
    tried = art.retry(delay=0, on_retry=lambda error, attempt: noted.append((str(error), attempt)))(call)

    answer = asyncio.run(tried("a", suffix="b"))

    assert answer == "ab"
    assert len(calls) == 3
    assert noted == [("slow", 1), ("slow", 2)]
    assert (tried.__name__, tried.__doc__) == ("call", "Say hello.")


def test_retry_leaves_a_plain_function_plain():
    calls: list[str] = []
    noted: list[int] = []

    @art.retry(delay=0, exceptions=(TimeoutError,), on_retry=lambda _, attempt: noted.append(attempt))
    def ask(question: str) -> str:
        calls.append(question)
        if len(calls) < 3:
            raise TimeoutError
        return f"{question}!"

    assert ask("why") == "why!"
    assert (calls, noted) == (["why"] * 3, [1, 2])


def test_retry_of_a_plain_function_raises_the_last_error():
    @art.retry(max_attempts=2, delay=0)
    def ask() -> str:
        raise TimeoutError("slow")

    with pytest.raises(TimeoutError, match="slow"):
        ask()


def test_retry_without_its_brackets_says_how_it_is_written():
    with pytest.raises(ConfigurationError, match=r"written @art\.retry\(\)"):

        @art.retry  # pyright: ignore
        async def ask() -> str:
            return "never"


def test_retry_raises_the_last_error():
    calls, call = flaky(9, TimeoutError("slow"))

    with pytest.raises(TimeoutError, match="slow"):
        asyncio.run(art.retry(max_attempts=2, delay=0)(call)("a"))

    assert len(calls) == 2


def test_retry_leaves_other_errors_alone():
    calls, call = flaky(1, KeyError("wrong"))

    with pytest.raises(KeyError):
        asyncio.run(art.retry(exceptions=(TimeoutError,), delay=0)(call)("a"))

    assert len(calls) == 1


def test_retry_waits_longer_each_time():
    _, call = flaky(2, TimeoutError())
    started = time.monotonic()

    asyncio.run(art.retry(delay=0.02, backoff_factor=2)(call)("a"))

    assert time.monotonic() - started >= 0.06


def test_nonsense_is_refused():
    with pytest.raises(ConfigurationError, match="max_attempts is 0"):
        art.retry(max_attempts=0)
    with pytest.raises(ConfigurationError, match="n is 0"):
        limit_concurrency(0)
    with pytest.raises(ConfigurationError, match="groups_per_step is 0"):
        list(iterate_dataset([1], groups_per_step=0))


class Crowd:
    """How many are inside at once, at most, by key."""

    def __init__(self) -> None:
        self.inside: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def visit(self, key: str) -> None:
        self.inside[key] = self.inside.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self.inside[key])
        await asyncio.sleep(0.002)
        self.inside[key] -= 1


async def visit_all(visit: object, keys: list[str]) -> None:
    await asyncio.gather(*(visit(key) for key in keys))  # pyright: ignore


def test_no_more_calls_run_at_once_than_allowed():
    crowd = Crowd()

    asyncio.run(visit_all(limit_concurrency(2)(crowd.visit), ["a"] * 6))

    assert crowd.most == {"a": 2}


def test_each_key_has_a_limit_of_its_own():
    crowd = Crowd()

    asyncio.run(visit_all(limit_concurrency(2, derive_key=lambda key: key)(crowd.visit), ["a"] * 4 + ["b"] * 4))

    assert crowd.most == {"a": 2, "b": 2}


def test_a_limit_holds_in_one_event_loop_after_another():
    crowd = Crowd()
    limited = limit_concurrency(1)(crowd.visit)

    asyncio.run(visit_all(limited, ["a"] * 3))
    asyncio.run(visit_all(limited, ["a"] * 3))

    assert crowd.most == {"a": 1}


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own():
    batches = list(iterate_dataset(range(10), groups_per_step=4, num_epochs=2, use_tqdm=False))

    assert [(batch.step, batch.epoch, batch.epoch_step, len(batch.items)) for batch in batches] == [
        (0, 0, 0, 4), (1, 0, 1, 4), (2, 0, 2, 2), (3, 1, 0, 4), (4, 1, 1, 4), (5, 1, 2, 2),
    ]  # fmt: skip
    first, second = ([item for batch in batches if batch.epoch == epoch for item in batch.items] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_batch_is_unpacked_as_the_tuple_that_it_once_was():
    ((items, epoch, step, epoch_step),) = iterate_dataset(["a"], num_epochs=2, initial_step=1, use_tqdm=False)

    assert (items, epoch, step, epoch_step) == (["a"], 1, 1, 0)


@pytest.mark.parametrize("step", [1, 3, 5, 6])
def test_a_restart_at_a_step_sees_the_items_it_would_have_seen(step: int):
    whole = list(iterate_dataset(range(10), groups_per_step=4, num_epochs=2, use_tqdm=False))

    rest = list(iterate_dataset(range(10), groups_per_step=4, num_epochs=2, initial_step=step, use_tqdm=False))

    assert rest == whole[step:]


def test_the_bar_of_a_data_set_can_be_turned_off(capsys: pytest.CaptureFixture[str]):
    list(iterate_dataset([1, 2], use_tqdm=False))
    quiet = capsys.readouterr()
    list(iterate_dataset([1, 2]))

    assert quiet.err == ""
    assert "2/2" in capsys.readouterr().err
