"""A lock that another process holds is waited for: with a word once that lasts, and no longer than is asked."""

import logging
import threading
from pathlib import Path

import pytest

from art.errors import StorageError
from art.store import disk, locks


def test_a_wait_that_lasts_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(locks, "SAID_AFTER_S", 0.01)
    taken = threading.Event()

    def wait() -> None:
        with disk.exclusive(tmp_path / "agent-1", ()):
            taken.set()

    with caplog.at_level(logging.WARNING, "art"), disk.exclusive(tmp_path / "agent-1", ("part",)):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not caplog.messages:
            assert not taken.wait(0.01)
    waiting.join()

    assert caplog.messages == [f"Waiting for another process that changes {tmp_path / 'agent-1'} ..."]
    assert taken.is_set()


def test_a_wait_ends_where_it_is_asked_to(tmp_path: Path):
    with (
        disk.exclusive(tmp_path / "agent-1", ()),
        pytest.raises(StorageError, match=r"another process has worked there for 0\.1 s"),
        disk.exclusive(tmp_path / "agent-1", (), within_s=0.1),
    ):
        """It is held already."""
