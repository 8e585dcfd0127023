"""The client: a trained model and a prompted one, one rollout for both, validated beside each other."""

import asyncio

import art
from art.local import LocalBackend


async def rollout(model: art.Model, topic: str) -> art.Trajectory:
    trajectory = art.Trajectory(
        messages_and_choices=[{"role": "user", "content": f"Say a word about {topic}."}],
        metadata={"topic": topic},
    )
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=trajectory.messages(), max_tokens=4, temperature=1.0
    )
    trajectory.messages_and_choices.append(completion.choices[0])
    trajectory.reward = float(len(set(completion.choices[0].message.content or "")))
    return trajectory


async def main() -> None:
    async with LocalBackend() as backend:
        model = art.TrainableModel(name="agent", project="words", base_model="OpenPipe/Qwen3-14B-Instruct")
        await model.register(backend)
        teacher = art.Model(
            name="teacher",
            project="words",
            inference_model_name=model.get_inference_name(step=0),
            inference_base_url=model.inference_base_url,
            inference_api_key=model.inference_api_key,
        )
        await teacher.register(backend)
        for each in (model, teacher):
            answers = await art.gather_trajectories(
                (rollout(each, topic) for topic in ("tides", "rain")), pbar_desc="val", max_exceptions=1
            )
            await each.log(answers, split="val")
        groups = await art.gather_trajectory_groups(
            art.TrajectoryGroup(rollout(model, topic) for _ in range(4)) for topic in ("tides", "rain")
        )
        await model.train(groups, config=art.TrainConfig(learning_rate=1e-5))
        earlier = model.get_inference_name(step=0)
        names = {each.id for each in (await model.openai_client().models.list()).data}
        assert {model.name, f"{model.name}@1", model.base_model} <= names
        assert earlier == "agent@0"
        assert not teacher.trainable


asyncio.run(main())
