"""What ART has and artfork has not, each with what to use here instead; importing it says so."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType

_ON_THIS_MACHINE = "Start your script on the machine you want, and use art.local.LocalBackend there."
_CHECKPOINTS = "`art log` lists a model's checkpoints, and model.delete_checkpoints keeps the newest and the best."
_DEPLOYING = "A checkpoint is a PEFT adapter: serve its folder with vLLM, or any server that loads LoRA adapters."
_LOSSES = "A loss of your own is art.TrainConfig(loss=function); docs/guides/training.md lists the others."
_COSTS = "model.metrics_builder().add_response_cost counts what a completion cost."
_STEPS = "Nothing has to be held: model.get_inference_name(step) names a step, which is loaded when it is asked for."
_SETTINGS = "docs/guides/from-art.md says what the settings of art.dev do here."
_COLLECTED = (
    "art.trajectory(rollout) collects what an agent asks, and art.langgraph.wrap_rollout does so for LangGraph's."
)
_CHARTS = (
    "art.utils.benchmarking has load_trajectories and charts; `art ui` draws the metrics of several models, and "
    "`art log --metric` prints them."
)
INSTEAD = {
    "art.serverless": f"artfork trains on the machine it runs on. {_ON_THIS_MACHINE}",
    "art.skypilot": f"artfork starts no machines. {_ON_THIS_MACHINE}",
    "art.tinker": f"artfork trains on the machine it runs on, not at Tinker. {_ON_THIS_MACHINE}",
    "art.tinker_native": f"artfork trains on the machine it runs on, not at Tinker. {_ON_THIS_MACHINE}",
    "art.megatron": "artfork trains LoRA adapters with PyTorch, not with Megatron. Use art.local.LocalBackend.",
    "art.unsloth": "artfork trains LoRA adapters with PyTorch, not with Unsloth. Use art.local.LocalBackend.",
    "art.transformers": "artfork changes nothing in transformers. Use art.local.LocalBackend.",
    "art.vllm": "art.local.LocalBackend(sampler='vllm') samples with a vLLM server of its own environment.",
    "art.vllm_runtime": "art.local.LocalBackend(sampler='vllm') samples with a vLLM server of its own environment.",
    "art.pipeline_trainer": "artfork samples and trains in turn. Use art.gather_trajectory_groups, then model.train, "
    "in a loop; art.trajectory_group_batches samples the next batches while one is trained on.",
    "art.distill": "artfork does not learn a teacher's distribution. model.train_sft learns what a teacher said.",
    "art.preprocessing": "What training makes of trajectories is not public here; model.train takes the groups.",
    "art.loss": _LOSSES,
    "art.costs": _COSTS,
    "art.api_costs": _COSTS,
    "art.openai": "client.chat.completions.stream(...) of the openai package puts a stream together: its "
    "get_final_completion() gives Choices that can be trained on.",
    "art.local.service": "art.local.LocalBackend trains and serves by itself.",
    "art.local.checkpoints": _CHECKPOINTS,
    "art.adapter_leases": _STEPS,
    "art.local.adapter_leases": _STEPS,
    "art.dev.get_model_config": _SETTINGS,
    "art.dev.sequence_lengths": _SETTINGS,
    "art.dev.validate": _SETTINGS,
    "art.distributed": f"artfork trains on the machine it runs on. {_ON_THIS_MACHINE}",
    "art.langgraph.logging": _COLLECTED,
    "art.langgraph.message_utils": _COLLECTED,
    "art.metrics_taxonomy": "The names of metrics are in docs/guides/training.md; model.log writes any others.",
    "art.pipeline_tuner": "art.TrainConfig(micro_batch_tokens='auto') takes what memory holds.",
    "art.runtime_diagnostics": "There is one environment, and nothing to prepare: `art plan` says what fits a card.",
    "art.serving_capabilities": "docs/guides/serving.md says what inference can do.",
    "art.tau_bench": "The benchmark is a package of its own: its agents ask model.inference_base_url.",
    "art.token_prefix": "What training makes of trajectories is not public here; model.train takes the groups.",
    "art.tokenizer": "transformers.AutoTokenizer.from_pretrained(base_model) gives a model's tokenizer.",
    "art.trainer_rank": "art.local.LocalBackend(ranks=...) trains on several GPUs of this machine.",
    "art.utils.s3_checkpoint_utils": "LocalBackend finds steps in buckets by itself; `art log URL` lists them.",
    "art.utils.benchmarking.display_image_grid": _CHARTS,
    "art.utils.benchmarking.filter_model_split": _CHARTS,
    "art.utils.benchmarking.generate_comparison_table": _CHARTS,
    "art.utils.benchmarking.load_benchmarked_models": _CHARTS,
    "art.utils.benchmarking.log_constant_metrics_wandb": _CHARTS,
    "art.utils.benchmarking.pull_model_trajectories": "backend._experimental_pull_from_s3(model) brings a model's "
    "history and trajectories along.",
    "art.utils.old_benchmarking": _CHARTS,
    "art.utils.deployment": _DEPLOYING,
    "art.utils.deploy_model": _DEPLOYING,
    "art.utils.log_http_errors": "An error of httpx has the server's answer: error.response.text.",
    "art.utils.record_provenance": "Each checkpoint's manifest says where it comes from; `art log --graph` shows it.",
    "art.utils.suppress_litellm_serialization_warnings": "Nothing here warns of LiteLLM's Choices; leave the call out.",
}
HOME_OF = {
    "ServerlessBackend": "art.serverless",
    "ServerlessTrainResult": "art.serverless",
    "SkyPilotBackend": "art.skypilot",
    "TinkerBackend": "art.tinker",
    "TinkerNativeBackend": "art.tinker_native",
    "MegatronBackend": "art.megatron",
    "PipelineTrainer": "art.pipeline_trainer",
    "PipelineAutotuneConfig": "art.pipeline_tuner",
    "PipelineRuntimeConfig": "art.pipeline_tuner",
    "MegatronRuntimeConfig": "art.megatron",
    "MegatronTopologyConfig": "art.megatron",
    "get_megatron_runtime_config": "art.megatron",
    "init_megatron_runtime_config": "art.megatron",
    "MetricDefinition": "art.metrics_taxonomy",
    "PIPELINE_RL_DASHBOARD_DEFAULT_METRICS": "art.metrics_taxonomy",
    "PIPELINE_RL_METRIC_DEFINITIONS": "art.metrics_taxonomy",
    "PIPELINE_RL_SCORE_METRICS": "art.metrics_taxonomy",
    "LocalServingUnavailableError": "art.serving_capabilities",
    "get_tokenizer": "art.tokenizer",
    "tensorize": "art.preprocessing",
    "tokenize": "art.preprocessing",
}
"""Names that scripts import from `art` itself."""


def not_here(module: str) -> ImportError:
    """Give the error of importing a module of ART that artfork has not."""
    return ImportError(f"There is no {module} here: {INSTEAD[module]}", name=module)


def find_spec(name: str) -> ModuleSpec | None:
    """Give what refuses to load a module of `INSTEAD`; None for another one."""
    return ModuleSpec(name, Nothing(), is_package=True) if name in INSTEAD else None  # type: ignore[arg-type]


class Nothing:
    """Stands where a module would be, and loads none."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python: an empty module lives until `exec_module` refuses it."""

    def exec_module(self, module: ModuleType) -> None:
        raise not_here(module.__name__)
