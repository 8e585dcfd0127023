"""The backend: one of this machine for several models, closed and opened again, with a copy of one of them."""

import asyncio

import art
from art.local import LocalBackend


def make(name: str) -> art.TrainableModel:
    return art.TrainableModel(
        name=name,
        project="two-models",
        base_model="OpenPipe/Qwen3-14B-Instruct",
        _internal_config=art.dev.InternalModelConfig(
            init_args={"max_seq_length": 256}, peft_args={"r": 4}, engine_args={"max_model_len": 256}
        ),
    )


async def rollout(model: art.TrainableModel, reward: float) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": "hi"}]
    completion = await model.openai_client().chat.completions.create(
        model=model.name, messages=messages, max_completion_tokens=3
    )
    return art.Trajectory(messages_and_choices=[*messages, completion.choices[0]], reward=reward)


async def train(model: art.TrainableModel) -> None:
    groups = await art.gather_trajectory_groups([art.TrajectoryGroup(rollout(model, reward) for reward in (0, 1))])
    await model.train(groups)


async def main() -> None:
    backend = LocalBackend(path="./.art")
    first, second = make("first"), make("second")
    for model in (first, second):
        await model.register(backend)
        await train(model)
    assert first.inference_base_url != second.inference_base_url
    await backend.close()

    with LocalBackend(path="./.art") as again:
        copied = first.model_copy(deep=True)
        copied.name = "third"
        await again._experimental_fork_checkpoint(copied, from_model="first", verbose=True)
        await copied.register(again)
        await train(copied)
        assert await copied.get_step() == 2
        assert await again._experimental_pull_model_checkpoint(copied, step="latest") == str(
            again.store.open(copied.ref.at(2)).path
        )


asyncio.run(main())
