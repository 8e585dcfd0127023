"""`art merge` as a user runs it: what it refuses. What it makes is in `tests/adapter` and `tests/ops`."""

from art.store.store import CheckpointStore

from .conftest import Art


def test_an_unknown_method_and_a_bare_step_are_refused(art: Art, store: CheckpointStore):
    unknown = art("merge", "shop/agent-1@50", "shop/agent-2@200", "--into", "new", "--method", "dare")
    itself = art("merge", "shop/agent-1@50", "shop/agent-1@50", "--into", "new")

    assert (unknown.returncode, itself.returncode) == (2, 1)
    assert "dare is no method" in unknown.stderr
    assert "cannot be merged with itself" in itself.stderr
