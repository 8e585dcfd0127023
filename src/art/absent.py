"""What ART has and artfork has not, each with what to use here instead."""

from __future__ import annotations

_ON_THIS_MACHINE = "Start your script on the machine you want, and use art.local.LocalBackend there."
INSTEAD = {
    "art.serverless": f"artfork trains on the machine it runs on. {_ON_THIS_MACHINE}",
    "art.skypilot": f"artfork starts no machines. {_ON_THIS_MACHINE}",
    "art.tinker": f"artfork trains on the machine it runs on, not at Tinker. {_ON_THIS_MACHINE}",
    "art.tinker_native": f"artfork trains on the machine it runs on, not at Tinker. {_ON_THIS_MACHINE}",
    "art.megatron": "artfork trains LoRA adapters with PyTorch, not with Megatron. Use art.local.LocalBackend.",
    "art.unsloth": "artfork trains LoRA adapters with PyTorch, not with Unsloth. Use art.local.LocalBackend.",
    "art.pipeline_trainer": "artfork samples and trains in turn. Use art.gather_trajectory_groups, then model.train, "
    "in a loop; art.trajectory_group_batches samples the next batches while one is trained on.",
    "art.utils.benchmarking": "artfork draws no charts for notebooks. `art ui` draws the metrics of several models, "
    "`art log --metric` prints them, and art.utils.trajectory_logging reads the trajectories.",
}
HOME_OF = {
    "ServerlessBackend": "art.serverless",
    "SkyPilotBackend": "art.skypilot",
    "TinkerBackend": "art.tinker",
    "TinkerNativeBackend": "art.tinker_native",
    "MegatronBackend": "art.megatron",
    "PipelineTrainer": "art.pipeline_trainer",
}
"""Names that scripts import from `art` itself."""


def not_here(module: str) -> ImportError:
    """Give the error of importing a module of ART that artfork has not."""
    return ImportError(f"There is no {module} here: {INSTEAD[module]}", name=module)
