"""Our side: rollouts over HTTP and training through the public API, each step committed as a checkpoint."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence

import art
from art.local import LocalBackend
from learn.settings import BETAS, HIGH, LOW, MAX_GRAD_NORM, Size
from learn.tasks import Problem, Task
from smollm2 import prepare_smollm2

Note = Callable[[dict[str, float]], None]


async def converse(model: art.Model, task: Task, problem: Problem, *, temperature: float = 1.0) -> art.Trajectory:
    """Let the model and the tool speak in turn; the reward is the task's."""
    trajectory = art.Trajectory(messages_and_choices=[*task.asks(problem)])
    said: list[str] = []
    for _ in range(task.most_turns):
        completion = await model.openai_client().chat.completions.create(
            model=model.get_inference_name(),
            messages=trajectory.messages(),
            max_tokens=task.max_tokens,
            temperature=temperature,
        )
        trajectory.messages_and_choices.append(completion.choices[0])
        said.append(completion.choices[0].message.content or "")
        reply = task.replies(said[-1], problem)
        if reply is None:
            break
        trajectory.messages_and_choices.append({"role": "tool", "content": reply})
    trajectory.reward = task.rewards(said, problem)
    trajectory.metrics["right"] = task.is_right(said, problem)
    return trajectory


async def accuracy(model: art.Model, task: Task, size: Size) -> float:
    """Give the share of problems never trained on whose likeliest answer is right."""
    _, held_out = task.problems()
    found = await art.gather_trajectories(
        (converse(model, task, problem, temperature=0) for problem in held_out[: size.tested]), pbar_desc=None
    )
    return sum(trajectory.metrics["right"] for trajectory in found) / len(found)


async def learn(
    model: art.TrainableModel, task: Task, batches: Sequence[Sequence[Problem]], size: Size, note: Note
) -> None:
    """Train on the batches from the model's step on, and note what each step cost and brought."""
    config = art.TrainConfig(
        learning_rate=size.learning_rate, loss="ppo", epsilon=LOW, epsilon_high=HIGH, aggregate="token",
        minibatches=1, max_grad_norm=MAX_GRAD_NORM, weight_decay=0.0, betas=BETAS,
    )  # fmt: skip
    for step in range(await model.get_step(), len(batches)):
        if step % size.every == 0:
            note({"step": step, "accuracy": await accuracy(model, task, size)})
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        groups = await art.gather_trajectory_groups(
            [art.TrajectoryGroup(converse(model, task, each) for _ in range(size.answers)) for each in batches[step]],
            pbar_desc=None,
        )
        await model.train(groups, config)
        rewards = [trajectory.reward for group in groups for trajectory in group]
        spent = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}
        note({"step": step, "reward": sum(rewards) / len(rewards), **spent})
    note({"step": len(batches), "accuracy": await accuracy(model, task, size)})


def trainable(name: str) -> art.TrainableModel:
    """Make a model over SmolLM2."""
    return art.TrainableModel(name=name, project="learning", base_model=str(prepare_smollm2()))


async def run(task: Task, seed: int, size: Size, note: Note) -> None:
    """Learn a task from the base model on."""
    batches = task.batches(seed, steps=size.steps, prompts=size.prompts)
    with tempfile.TemporaryDirectory() as root:
        async with LocalBackend(path=root, seed=seed, report_to=[]) as backend:
            model = trainable("agent")
            await model.register(backend)
            await learn(model, task, batches, size, note)


async def run_branches(task: Task, seed: int, size: Size, note: Note) -> None:
    """Learn to a step, then go on from it twice on the same problems: as a fork, and from its weights alone."""
    batches = task.batches(seed, steps=size.steps, prompts=size.prompts)
    with tempfile.TemporaryDirectory() as root:
        async with LocalBackend(path=root, seed=seed, deterministic=True, report_to=[]) as backend:
            trunk = trainable("trunk")
            await trunk.register(backend)
            await learn(trunk, task, batches[: size.fork_at], size, _named("trunk", note))
            for name, reset in (("fork", ()), ("weights only", ("optimizer", "schedule", "random"))):
                branch = trainable(name.replace(" ", "-"))
                await backend._experimental_fork_checkpoint(branch, from_model="trunk", reset=reset)
                await branch.register(backend)
                await learn(branch, task, batches, size, _named(name, note))


def _named(branch: str, note: Note) -> Note:
    return lambda found: note({"branch": branch, **found})  # type: ignore[dict-item]
