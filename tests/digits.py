"""A task that a tiny random model learns in seconds: answer with digits. Used by scripts in this folder, also alone."""

import art

PROMPTS = ("give digits", "more digits", "say numbers")
TRAIN = art.TrainConfig(learning_rate=2e-2)


async def rollout(model: art.TrainableModel, prompt: str) -> art.Trajectory:
    """Ask for eight tokens; the reward is the share of digits among the characters."""
    messages: art.Messages = [{"role": "user", "content": prompt}]
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=messages, max_tokens=8
    )
    text = completion.choices[0].message.content or ""
    reward = sum(character.isdigit() for character in text) / 8
    return art.Trajectory(messages_and_choices=[*messages, completion.choices[0]], reward=reward)


async def gather(model: art.TrainableModel, rollouts: int = 6) -> list[art.TrajectoryGroup]:
    return await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, prompt) for _ in range(rollouts)) for prompt in PROMPTS), pbar_desc=None
    )


async def train(model: art.TrainableModel, steps: int, config: art.TrainConfig = TRAIN) -> list[float]:
    """Take steps; gives the mean reward of each one's rollouts."""
    rewards: list[float] = []
    for _ in range(steps):
        result = await model.train(await gather(model), config)
        rewards.append(result.metrics["reward"])
    return rewards
