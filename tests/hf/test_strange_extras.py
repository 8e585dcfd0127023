"""Extras whose tensors have the right shape and make no sense are named."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from art.errors import CorruptCheckpointError
from art.hf.extras import Extras, file_name


def test_a_state_of_the_sampler_that_no_generator_takes_is_named(tmp_path: Path):
    generator, said = torch.Generator(), '{"counters": {}, "metrics": {}, "buffer": null}'
    state = torch.zeros_like(generator.get_state())
    save_file({"sampler": state}, tmp_path / file_name(0), metadata={"artfork": said})
    (tmp_path / "rng_state.pth").touch()
    loader = SimpleNamespace(sampler=SimpleNamespace(generator=generator))
    trainer = SimpleNamespace(
        args=SimpleNamespace(process_index=0), callback_handler=SimpleNamespace(train_dataloader=loader)
    )

    with pytest.raises(CorruptCheckpointError, match="state of the sampler"):
        Extras(trainer).load(tmp_path)
