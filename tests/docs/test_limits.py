"""What docs/limits.md says is not here is not here: a row goes when its feature comes."""

import sys
from pathlib import Path

import pytest

from art.cli import main

PAGE = (Path(__file__).parents[2] / "docs/limits.md").read_text()


def test_no_signature_is_checked_in_a_bucket(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert "`art verify URL --signature`" in PAGE
    monkeypatch.setattr(sys, "argv", ["art", "verify", "s3://bucket/prefix", "--signature", "--key", __file__])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 2
    assert "on this disk only" in capsys.readouterr().err
