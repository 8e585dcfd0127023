"""What docs/limits.md says is not here is not here: a row goes when its feature comes."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import art
from art.cli import main

PAGE = (Path(__file__).parents[2] / "docs/limits.md").read_text()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"`(art\.(?:[a-z]+\.)*[a-z]+)`", PAGE))))
def test_a_module_that_the_page_names_cannot_be_imported(module: str):
    with pytest.raises(ImportError, match=module):
        importlib.import_module(module)


def test_a_model_has_no_builder_of_metrics():
    assert "`model.metrics_builder`" in PAGE
    assert not hasattr(art.Model, "metrics_builder")


def test_verify_repairs_nothing_in_a_bucket(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert "`art verify URL --repair`" in PAGE
    monkeypatch.setattr(sys, "argv", ["art", "verify", "s3://bucket/prefix", "--repair"])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 2
    assert "on this disk only" in capsys.readouterr().err
