"""Supervised fine-tuning as scripts write it: from trajectories, from a file, and reinforcement learning after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import art
from api.world import World, two_groups
from art.errors import TrainingDataError
from art.utils.sft import create_lr_schedule, create_sft_dataset_iterator, iterate_file, train_sft_from_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    conversations = [
        [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": f"{number}\u2028!"}]
        for number in range(5)
    ]
    lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in conversations]
    path = tmp_path / "conversations.jsonl"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    return path


def asked(trajectories: list[art.Trajectory]) -> list[str]:
    return [str(trajectory.messages()[0]["content"]) for trajectory in trajectories]


def test_a_file_is_learned_in_one_step_and_rewards_after_it(world: World, file: Path):
    async def body() -> tuple[art.TrainResult | None, art.TrainResult, art.TrainResult, int]:
        before = await world.model.get_step()
        from_file = await train_sft_from_file(world.model, file, epochs=2, batch_size=4, peak_lr=1e-3)
        config = art.TrainSFTConfig(learning_rate=1e-3, batch_size=2)
        by_hand = await world.model.train_sft(iterate_file(file), config)
        rewarded = await world.model.train(await two_groups(world.model))
        return from_file, by_hand, rewarded, before

    from_file, by_hand, rewarded, before = world.run(body())

    assert from_file is not None
    assert [from_file.step, by_hand.step, rewarded.step] == [before + 1, before + 2, before + 3]
    assert (from_file.metrics["optimizer_steps"], from_file.metrics["trajectories"]) == (3, 10)
    assert by_hand.metrics["optimizer_steps"] == 3
    assert by_hand.metrics["loss"] > 0
    assert rewarded.metrics["grad_norm"] > 0


def test_a_file_is_read_in_an_order_of_its_epoch_and_goes_on_where_it_is_told(file: Path):
    whole = asked(list(iterate_file(file, epochs=2)))

    assert sorted(whole[:5]) == sorted(whole[5:]) == [f"{n}?" for n in range(5)]
    assert whole[:5] != whole[5:]
    assert asked(list(iterate_file(file, epochs=2, initial_skip=3))) == whole[3:]
    assert sorted(asked(list(iterate_file(file, shuffle_buffer_size=2)))) == sorted(whole[:5])


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"messages": 3}', "7"])
def test_a_line_that_is_no_conversation_is_named(line: str, tmp_path: Path):
    path = tmp_path / "broken.jsonl"
    path.write_text(f'{{"messages": []}}\n{line}\n')

    with pytest.raises(TrainingDataError, match=r"broken\.jsonl, line 2"):
        list(iterate_file(path))


def test_schedules_rise_fall_and_stay():
    assert create_lr_schedule(4, 1.0, "constant") == [1.0] * 4
    assert create_lr_schedule(4, 1.0, "linear", warmup_steps=1) == [1.0, 1.0, 0.5, 0.0]
    assert create_lr_schedule(3, 1.0, "cosine", min_lr=0.5) == pytest.approx([1.0, 0.75, 0.5])
    assert create_lr_schedule(0, 1.0) == []


def test_chunks_cover_every_epoch_and_share_one_schedule():
    trajectories = [art.Trajectory(messages_and_choices=[{"role": "user", "content": f"{n}"}]) for n in range(7)]

    chunks = list(create_sft_dataset_iterator(trajectories, chunk_size=3, epochs=2, show_progress=False))

    assert [(chunk.step, chunk.epoch, chunk.epoch_step) for chunk in chunks] == [
        (0, 0, 0),
        (3, 0, 3),
        (4, 1, 0),
        (7, 1, 3),
    ]
    assert [len(chunk.trajectories) for chunk in chunks] == [6, 1, 6, 1]
    rates = [rate for chunk in chunks for rate in chunk.config.learning_rate]  # pyright: ignore
    assert rates == create_lr_schedule(8, 2e-4)
    later = list(create_sft_dataset_iterator(trajectories, chunk_size=3, epochs=2, initial_step=4, show_progress=False))
    assert [chunk.step for chunk in later] == [4, 7]
    assert asked(later[0].trajectories) == asked(chunks[2].trajectories)
