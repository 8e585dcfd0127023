"""Certificates of other trainers' scripts: what a resume continues, and what it does not, is found and named."""

import io
import shlex
import sys
import zipfile
from pathlib import Path

import pytest

from art.errors import ConfigurationError, CorruptCheckpointError, StorageError
from art.ops.certify import Certification, Finding, ResumedScript, certify
from art.ops.contents import Name, pieces_of
from fuzz.world import bounded

SCRIPTED = Path(__file__).with_name("scripted.py")


def script(how: str) -> ResumedScript:
    words = shlex.join([sys.executable, "-X", "utf8", str(SCRIPTED)])
    return ResumedScript(command=f"{words} {{out}} {{resume}} {how}", at=3, end=6)


def certified(how: str, folder: Path) -> Certification:
    return certify(script(how), folder / "work")


def test_a_resume_that_continues_is_exact_and_its_weights_alone_are_not(tmp_path: Path):
    certificate = certified("right", tmp_path)

    assert certificate.verdict is Finding.EXACT
    assert (certificate.resumed.steps, certificate.resumed.of, certificate.resumed.compared_figures) == (
        (4, 5, 6),
        5,
        6,
    )
    assert certificate.weights_only is not None
    assert certificate.weights_only.first_step == 4
    assert Name("model.safetensors", "w") in certificate.weights_only.pieces


def test_a_forgotten_momentum_is_named_with_its_first_step(tmp_path: Path):
    certificate = certified("forgets", tmp_path)

    assert (certificate.verdict, certificate.is_state_exact) == (Finding.DIFFERS, False)
    assert certificate.resumed.first_step == 4
    assert certificate.resumed.pieces == (Name("model.safetensors", "w"), Name("optimizer.pt", "data/0"))


def test_tokens_that_are_counted_afresh_are_told_from_a_wrong_state(tmp_path: Path):
    certificate = certified("counts", tmp_path)

    assert (certificate.verdict, certificate.is_state_exact) == (Finding.STATE_EXACT, True)
    assert certificate.resumed.figures == ((4, "tokens"), (5, "tokens"), (6, "tokens"))


def test_a_run_that_is_no_run_twice_cannot_be_judged(tmp_path: Path):
    certificate = certified("random", tmp_path)

    assert certificate.verdict is Finding.NOT_DETERMINISTIC
    assert certificate.again.first_step == 4


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fails", "ended with status 1.*\n.*the reward has no server"),
        ("rotates", r"left no checkpoint of step 3 .*it has: 6.*keep what it saved"),
    ],
)
def test_a_script_that_cannot_be_judged_is_told_why(tmp_path: Path, how: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        certified(how, tmp_path)


@pytest.mark.parametrize(
    ("command", "at", "said"),
    [
        ("python train.py {resume}", 3, "has no {out}"),
        ("python train.py {out}", 3, "has no {resume}"),
        ("python 'train.py {out} {resume}", 3, "cannot be split into words"),
        ("python train.py {out} {resume}", 6, "between the first step and 6"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_before_it_is(command: str, at: int, said: str):
    with pytest.raises(ConfigurationError, match=said):
        ResumedScript(command=command, at=at, end=6)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/mine").write_text("mine")

    with pytest.raises(ConfigurationError, match="is not empty"):
        certified("right", tmp_path)

    assert [path.name for path in tmp_path.rglob("*")] == ["work", "mine"]


def test_a_program_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no-such-program cannot be run"):
        certify(ResumedScript(command="no-such-program {out} {resume}", at=1, end=2), tmp_path / "work")


def test_a_damaged_archive_is_named(tmp_path: Path):
    path = tmp_path / "optimizer.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("optimizer/data/0", b"12345678" * 64)
    content = bytearray(path.read_bytes())
    content[80] ^= 1
    path.write_bytes(content)

    with pytest.raises(CorruptCheckpointError, match=r"optimizer\.pt is a damaged archive"):
        pieces_of(tmp_path, out=tmp_path)


def test_every_tensor_of_a_shard_is_compared_and_its_index_is_not(tmp_path: Path):
    """A shard has an archive for each tensor, one behind the other; the index names the run's own folder."""
    found = []
    for name, first in (("one", b"12345678"), ("two", b"12345679"), ("three", b"12345678")):
        folder = tmp_path / name
        folder.mkdir()
        shard = b"".join(archive_of({"archive/data/0": content}) for content in (first, b"same"))
        (folder / "__0_0.distcp").write_bytes(shard)
        (folder / ".metadata").write_text(str(folder))
        found.append(pieces_of(folder, out=folder))

    assert found[0] != found[1]
    assert found[0] == found[2]
    assert {name.file for name in found[0]} == {"__0_0.distcp"}


@pytest.mark.parametrize("how", ["right", "forgets"])
def test_a_checkpoint_of_one_file_that_names_its_folder_is_compared(tmp_path: Path, how: str):
    certificate = certified(f"{how} one-file", tmp_path)

    assert certificate.verdict is (Finding.EXACT if how == "right" else Finding.DIFFERS)
    assert certificate.not_tried == "the trainer of a checkpoint of kind lightning needs every file"
    assert {name.file for name in certificate.resumed.pieces} <= {"step=4.ckpt"}


def archive_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return content.getvalue()


NO_FILES = {
    "a pipe": "mkfifo $1/optimizer.pt",
    "a link to what has no end": "ln -s /dev/zero $1/optimizer.pt",
    "a link to nothing": "ln -s nowhere $1/optimizer.pt",
    "a link to itself": "ln -s optimizer.pt $1/optimizer.pt",
    "a link to a folder": "ln -s / $1/optimizer.pt",
}


@pytest.mark.parametrize("put", NO_FILES.values(), ids=NO_FILES.keys())
@pytest.mark.parametrize("step", [1, 2])
def test_what_is_no_file_in_a_checkpoint_of_a_script_is_named(tmp_path: Path, put: str, step: int):
    script = tmp_path / "script.sh"
    script.write_text(
        f"put() {{ {put}; }}\n"
        "for step in 1 2; do mkdir -p $1/checkpoint-$step; echo '{}' > $1/checkpoint-$step/trainer_state.json; done\n"
        f"put $1/checkpoint-{step}\n"
    )

    with bounded(), pytest.raises(StorageError, match=r"optimizer\.pt is no regular file"):
        certify(ResumedScript(command=f"sh {script} {{out}} {{resume}}", at=1, end=2), tmp_path / "work")


def test_of_what_a_script_says_the_end_is_told(tmp_path: Path):
    command = "sh -c 'head -c 3000000 /dev/zero | tr \\0 x; echo; echo it broke; exit 3' {out} {resume}"

    with pytest.raises(ConfigurationError, match=r"status 3(.|\n)*it broke") as caught:
        certify(ResumedScript(command=command, at=1, end=2), tmp_path / "work")

    assert len(str(caught.value)) < 20_000
