"""The made story with everything in it that a tree can show: a merge, a rewound tail, damage, a pin, a certificate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from art.format.certificates import Certificate
from art.format.manifest import utc_now
from art.format.merge import Method
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.merge import MergeRequest, merge
from art.store.certificates import add_certificate
from art.store.history import HistoryStore
from art.store.pins import set_pin
from art.store.store import CheckpointStore

from .story import Branch, tell, write_checkpoint

REWOUND_TO, DAMAGED, PINNED, CERTIFIED = 58, 90, 50, (40, 50, 60)
GOES_ON = Branch(name="agent-003", source="agent-001", at=REWOUND_TO, last=72, changed={})


def show_everything(root: Path) -> CheckpointStore:
    """Make the story's store, and what else there may be."""
    store = tell(root)
    _rewind(store, ModelRef("shop", "agent-003"))
    _merge(store)
    _certify(store, ModelRef("shop", "agent-002"))
    pinned = store.open(ModelRef("shop", "agent-002").at(PINNED))
    set_pin(store.root, pinned.ref, pinned.digest, pinned=True)
    _import(store, ModelRef("shop", "imported-art"))
    damaged = store.open(ModelRef("shop", "agent-008").at(DAMAGED))
    (damaged.path / "checkpoint.json").write_text("{")
    return store


def _rewind(store: CheckpointStore, model: ModelRef) -> None:
    """Take a branch back, and let it go on another way."""
    store.rewind(store.open(model.at(REWOUND_TO)), why="a better seed")
    parent, history = store.open(model.at(REWOUND_TO)), HistoryStore(store.root)
    for step in range(REWOUND_TO, GOES_ON.last):
        reward = 0.66 + 0.004 * (step - REWOUND_TO)
        parent = write_checkpoint(store, model, step + 1, parent=parent, settings={"beta": 0.05}, reward=reward)
        history.append(model, step, split="train", metrics={"reward": reward, "entropy": 0.7, "grad_norm": 0.5})


def _merge(store: CheckpointStore) -> None:
    def combine(first: Path, _second: Path, target: Path, *, method: Method) -> float:
        del method
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(first / name, target / name)
        return 1.0

    first, second = ModelRef("shop", "agent-006"), ModelRef("shop", "agent-008")
    into = ModelRef("shop", "agent-merged")
    request = MergeRequest(first=first, first_pick=Exact(80), second=second, second_pick=Exact(76), into=into)
    parent = merge(store, request, combine=combine).checkpoint
    history = HistoryStore(store.root)
    for step in range(80, 100):
        reward = 0.88 + 0.003 * (step - 80)
        parent = write_checkpoint(store, into, step + 1, parent=parent, settings={"beta": 0.0}, reward=reward)
        history.append(into, step, split="train", metrics={"reward": reward, "entropy": 0.6, "grad_norm": 0.4})


def _certify(store: CheckpointStore, model: ModelRef) -> None:
    for step in CERTIFIED:
        digest = store.open(model.at(step)).digest
        assert digest is not None
        certificate = Certificate(step=step, checkpoint=digest, same=("weights", "moments"), time=utc_now())
        add_certificate(store.root, model, certificate)


def _import(store: CheckpointStore, model: ModelRef) -> None:
    """Lay down a checkpoint as another program writes it: adapter files, no manifest."""
    source = store.open(ModelRef("shop", "agent-001").at(3)).path
    folder = store.root / "shop" / "models" / model.name / "checkpoints" / "0003"
    folder.mkdir(parents=True)
    shutil.copyfile(source / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config))
