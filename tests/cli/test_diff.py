"""`art diff` and `art show --rollouts`: how far apart two updates are, and what was answered."""

import json
import shutil
from pathlib import Path

import pytest

from art.cli.render import wording
from art.names import ModelRef
from art.store.store import CheckpointStore
from ui.story import STORY, tell
from written_adapters import LAYERS, write

from .conftest import Art

MODEL = ModelRef("shop", "agent-9")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("story")
    tell(root, story=tuple(branch for branch in STORY if branch.name in ("agent-001", "agent-002", "agent-004")))
    return root


def commit_adapters(store: CheckpointStore, folder: Path) -> None:
    """Commit steps 1 and 2 of a model, which are adapters of other numbers."""
    for step in (1, 2):
        adapter = write(folder / str(step), seed=step)
        with store.stage(MODEL.at(step)) as stage:
            for path in adapter.iterdir():
                (stage.path / path.name).write_bytes(path.read_bytes())
            stage.commit(parent=store.newest(MODEL))


def test_the_updates_are_compared_layer_by_layer(art: Art, store: CheckpointStore, tmp_path: Path):
    commit_adapters(store, tmp_path)

    lines = art("diff", "agent-9@1", "agent-9@2", "--layers").stdout.splitlines()
    update = json.loads(art("diff", "agent-9@1", "agent-9@2", "--json").stdout)["update"]

    assert [line for layer in LAYERS for line in lines if layer in line]
    assert {each["layer"] for each in update["layers"]} == set(LAYERS)
    assert update["whole"]["difference"] > max(each["difference"] for each in update["layers"]) > 0
    assert (update["problem"], update["whole"]["optimizer"]) == (None, None)


def test_a_checkpoint_beside_itself_differs_in_nothing(art: Art, store: CheckpointStore, tmp_path: Path):
    commit_adapters(store, tmp_path)

    done = art("diff", "agent-9@2", "agent-9@2")
    newest = art("diff", "agent-9", "agent-9@2")

    assert "the update B·A is the same in every layer" in done.stdout
    assert newest.stdout == done.stdout


@pytest.mark.parametrize(
    ("metric", "number", "words"),
    [
        ("train/groups", 4.0, "4"), ("rows", 0.0, "0"), ("train/reward", 1.0, "1.0000"), ("age", 0.5, "0.5000"),
        ("learning_rate", 2e-6, "2e-06"), ("train/kl", 1.25e-7, "1.25e-07"), ("train/kl", 0.0, "0.0000"),
        ("train/tokens_in", 123456.0, "123456"), ("train/seconds", 31.0, "31.0000"),
    ],
)  # fmt: skip
def test_a_count_is_whole_and_a_tiny_number_is_not_zero(metric: str, number: float, words: str):
    assert wording.metric(metric, number) == words


def test_a_damaged_adapter_is_a_reason_and_hides_nothing_else(art: Art, story: Path, tmp_path: Path):
    root = shutil.copytree(story, tmp_path / "damaged")
    weights = CheckpointStore(root).open(ModelRef("shop", "agent-002").at(51)).path / "adapter_model.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)

    done = art("diff", "shop/agent-002@51", "shop/agent-004@75", root=root)

    assert done.returncode == 0
    assert "the updates were not compared: " in done.stdout
    assert "2 worse" in done.stdout


def test_examples_show_both_answers_with_their_rewards(art: Art, story: Path):
    done = art("diff", "shop/agent-002@51", "shop/agent-004@75", "--examples", root=story).stdout

    assert "regressions: 2 prompts" in done
    before, after = done.split("shop/agent-004@75", 1)
    assert '{"total": 43.60}' in before
    assert "malformed" in after.splitlines()[0]
    assert "total total total total" in after
    assert "[cut off at 3 tokens]" in after


def test_examples_of_steps_without_common_prompts_say_so(art: Art, story: Path):
    done = art("diff", "shop/agent-002@50", "shop/agent-004@75", "--examples", root=story)

    assert "No prompt was recorded at both shop/agent-002@50 and shop/agent-004@75." in done.stdout


def test_a_step_shows_its_groups_and_the_best_worst_and_first_malformed_answer(art: Art, story: Path):
    done = art("show", "shop/agent-004@75", "--rollouts", root=story).stdout

    assert "2 prompts, worst first" in done
    assert "█×××" in done
    assert "best  reward 1.0000 · advantage" in done
    assert "worst  reward 0.0000 · advantage" in done
    assert "· malformed" in done
    assert "You are the till of a small shop." in done


def test_a_step_without_rollouts_names_those_nearby(art: Art, story: Path):
    done = art("show", "shop/agent-004@76", "--rollouts", root=story)

    assert done.returncode == 1
    assert "steps nearby that have some: 69, 72, 75" in done.stderr
