"""What ART has and artfork has not, each with what to use here instead; importing it says so."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from inspect import Signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
_NOT_PUBLIC = "What training makes of trajectories is not public here; model.train takes the groups."
_INSIDE = "It is a part of what ART does inside, and no script of its documentation uses it."
_EXCHANGED = (
    "What was asked and answered lies in a trajectory's messages_and_choices and additional_histories: "
    "trajectory.histories() gives them all, and art.trajectories.sampled_tokens(choice) says which tokens and weights."
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
    "art.client": f"artfork speaks to no service of its own. {_ON_THIS_MACHINE}",
    "art.preprocessing": _NOT_PUBLIC,
    "art.test": "ART's own tests stay with ART: docs/guides/from-art.md says what differs here.",
    "art.torchtune": "artfork trains LoRA adapters with PyTorch, not with torchtune. Use art.local.LocalBackend.",
    "art.trajectories.tensors": _NOT_PUBLIC,
    "art.weight_transfer": "artfork serves each step's adapter beside the base, and sends no weights.",
    "art.loss": _LOSSES,
    "art.costs": _COSTS,
    "art.api_costs": _COSTS,
    "art.openai": "client.chat.completions.stream(...) of the openai package puts a stream together: its "
    "get_final_completion() gives Choices that can be trained on.",
    "art.local.service": "art.local.LocalBackend trains and serves by itself.",
    "art.local.checkpoints": _CHECKPOINTS,
    "art.local.pack": _NOT_PUBLIC,
    "art.local.tokenize": _NOT_PUBLIC,
    "art.local.api": "LocalAPI is now LocalBackend: from art.local import LocalBackend.",
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
    "art.verifiers": "An environment of verifiers asks model.openai_client(): pass it as `client`, and collect what is "
    "asked with `with art.Trajectory() as trajectory:`.",
    "art.tau_bench": "The benchmark is a package of its own: its agents ask model.inference_base_url.",
    "art.token_prefix": _NOT_PUBLIC,
    "art.tokenizer": "transformers.AutoTokenizer.from_pretrained(base_model) gives a model's tokenizer.",
    "art.trainer_rank": "art.local.LocalBackend(ranks=...) trains on several GPUs of this machine.",
    "art.utils.s3_checkpoint_utils": "LocalBackend finds steps in buckets by itself; `art log URL` lists them.",
    "art.utils.append_only": _INSIDE,
    "art.utils.benchmarking.aggregate_trajectories": _CHARTS,
    "art.utils.benchmarking.display_image_grid": _CHARTS,
    "art.utils.benchmarking.filter_model_split": _CHARTS,
    "art.utils.benchmarking.generate_comparison_table": _CHARTS,
    "art.utils.benchmarking.load_benchmarked_models": _CHARTS,
    "art.utils.benchmarking.log_constant_metrics_wandb": _CHARTS,
    "art.utils.benchmarking.pull_model_trajectories": "backend._experimental_pull_from_s3(model) brings a model's "
    "history and trajectories along.",
    "art.utils.cache_dirs": _INSIDE,
    "art.utils.chat_template": "tokenizer.apply_chat_template of transformers writes a conversation.",
    "art.utils.convert_moe_lora": "Adapters of experts are written as PEFT writes them.",
    "art.utils.get_trajectory_messages": "trajectory.messages() gives a conversation as message dicts.",
    "art.utils.group_aggregate": _NOT_PUBLIC,
    "art.utils.grpo": _NOT_PUBLIC,
    "art.utils.lifecycle": _INSIDE,
    "art.utils.managed_process": _INSIDE,
    "art.utils.model_config": "art.TrainSFTConfig(assistant_turns=...) says which answers are learned.",
    "art.utils.network": _INSIDE,
    "art.utils.old_benchmarking": _CHARTS,
    "art.utils.deployment": _DEPLOYING,
    "art.utils.deploy_model": _DEPLOYING,
    "art.utils.log_http_errors": "An error of httpx has the server's answer: error.response.text.",
    "art.utils.record_provenance": "Each checkpoint's manifest says where it comes from; `art log --graph` shows it.",
    "art.utils.safetensors": "art.format.safetensors reads the headers of such files; safetensors.torch their tensors.",
    "art.utils.trajectory_migration": "art.utils.trajectory_logging reads and writes both forms of trajectories.",
    "art.utils.wandb_sdk": "LocalBackend(report_to='wandb') tells Weights & Biases.",
    "art.utils.suppress_litellm_serialization_warnings": "Nothing here warns of LiteLLM's Choices; leave the call out.",
}
INSTEAD["art.vllm_route_transport"] = INSTEAD["art.vllm"]
HOME_OF = {
    "LocalAPI": "art.local.api",
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
    "disable_broken_torchvision_for_transformers": "art.transformers",
    "get_tokenizer": "art.tokenizer",
    "patch_preprocess_mask_arguments": "art.transformers",
    "suppress_litellm_serialization_warnings": "art.utils.suppress_litellm_serialization_warnings",
    "GuidedDecodingParams": "art.vllm",
    "tensorize": "art.preprocessing",
    "tokenize": "art.preprocessing",
}
"""Names that scripts import from `art` itself."""


_EXCHANGES = (
    "ChatCompletionsExchange", "CompletionsExchange", "ResponsesExchange", "MessagesExchange", "TrajectoryExchanges",
    "ChatCompletionsHistory", "AnthropicMessagesHistory", "ResponsesHistory", "CompletionsTokenHistory",
    "CompletionsStringHistory", "TrajectoryHistory", "exchanges", "history", "initial_policy_version",
    "final_policy_version", "as_chat_completions_history", "chat_completions_history", "chat_completions_histories",
    "anthropic_messages_history", "anthropic_messages_histories", "responses_history", "responses_histories",
    "completions_token_history", "completions_token_histories", "completions_string_history",
    "completions_string_histories", "AnthropicMessageSource", "ChatCompletionsMessageSource", "ChatCompletionsRequest",
    "CompletionsRequest", "CompletionsSource", "CompletionsStringSourceSpan", "CompletionsTokenSourceSpan",
    "MessagesRequest", "ResponsesItemSource", "ResponsesRequest", "validate_history", "validate_representation",
)  # fmt: skip
_TOKENS = (
    "Tokenizer", "TokenFlag", "TokenizedTopK", "TokenizedHistory", "TokenizedTrajectory", "TokenizedTrajectoryGroup",
    "TokenizedMultiHistoryTrajectory", "TensorizedTopK", "TensorizedHistory", "TensorizedTrajectory",
    "TensorizedTrajectoryGroup", "TensorizedMultiHistoryTrajectory", "first_occurrence_masks", "tokenize", "tensorize",
)  # fmt: skip
_COMPACT = (
    "CompactDumpable", "CompactTrajectoryKind", "CompactTrajectoryPayload", "compact_dump", "compact_memory",
    "compact_validate", "compact_validate_json", "serialize_chat_completion", "serialize_history",
    "serialize_messages_and_choices",
)  # fmt: skip
_AS_DICTS = (
    "trajectory_group_to_dict", "trajectory_to_dict", "history_to_dict", "message_or_choice_to_dict",
    "dict_to_trajectory_group", "dict_to_trajectory", "dict_to_message_or_choice",
)  # fmt: skip
_VLLM = ("RolloutWeightUpdateMode", "RolloutWeightsMode", "VllmRuntimeMode", "VllmRuntimeArgs", "WeightTransferConfig",
    "ArtVllmMetricsTimeoutError", "create_train_step_vllm_metrics_collector", "collect_train_step_vllm_metrics",
)  # fmt: skip
_DEPLOYMENT = (
    "UnsupportedLoRADeploymentProviderError", "UnsupportedBaseModelDeploymentError", "LoRADeploymentTimedOutError",
)  # fmt: skip
_CHECKED = (
    "BackendModelConfig", "OptimizerNames", "SchedulerType", "get_openai_server_config", "is_dedicated_mode",
    "is_external_vllm_mode", "validate_dedicated_config", "DebugOption", "FSDPOption", "HubStrategy",
    "IntervalStrategy", "SaveStrategy", "PEFT_ARGS_MIGRATION_MESSAGE", "TorchtuneModel", "TorchtuneModelType",
    "get_model_config",
)  # fmt: skip
_BUCKETS = ("archive_and_presign_step_url", "ensure_bucket_exists", "s3_sync", "build_s3_zipped_step_path")
_METRICS = ("is_builder_managed_metric", "is_cumulative_metric_key", "to_cumulative_metric_key")
_RECORDING = (
    "AutoTrajectoryContext", "auto_trajectory_context_var", "patch_httpx", "parse_sse_to_chat_completion",
    "YieldTrajectoryContext", "yield_trajectory_context_var", "CURRENT_CONFIG", "LoggingLLM", "add_thread",
    "create_messages_from_logs", "DEFAULT_INVOKE_TIMEOUT", "OPENAI_COMPATIBLE_PROVIDERS",
)  # fmt: skip
_PRIVATE = (
    "AnyTrainableModel", "automatic_gpu_cost_per_hour_usd", "cache_path",
    "resolve_sft_batch_size", "supports_automatic_train_step_metrics",
)  # fmt: skip
NAMES = {
    **{name: INSTEAD[home] for name, home in HOME_OF.items()},
    **dict.fromkeys(_EXCHANGES, _EXCHANGED),
    **dict.fromkeys(_TOKENS, _NOT_PUBLIC),
    **dict.fromkeys(_COMPACT, "trajectory.model_dump_json() and Trajectory.model_validate_json() write and read it."),
    **dict.fromkeys(_AS_DICTS, "model_dump() and model_validate() of trajectories and groups write and read dicts."),
    **dict.fromkeys(_BUCKETS, "`art push`, `art pull` and push_model_to_s3 move checkpoints, without another program."),
    **dict.fromkeys(_METRICS, INSTEAD["art.metrics_taxonomy"]),
    **dict.fromkeys(_RECORDING, _COLLECTED),
    **dict.fromkeys(_PRIVATE, _INSIDE),
    **dict.fromkeys(_VLLM, INSTEAD["art.vllm"]),
    **dict.fromkeys(_DEPLOYMENT, _DEPLOYING),
    **dict.fromkeys(_CHECKED, _SETTINGS),
    "ForbiddenBucketCreationError": "A bucket has to be there; what goes wrong with it is an art.errors.RemoteError.",
    "SFTMetricLoggingConfig": "The metrics of a step are logged once, with its checkpoint.",
    "set_cost_calculator": _COSTS,
    "cost_calculator": _COSTS,
    "exact_adapter_lease": _STEPS,
    "adapter_lease": _STEPS,
    "drain_pending": "flush() gives what waits, and empties it.",
    "gather_context_var": "art.gather.get_gather_context() and set_gather_context(context) are its two uses.",
    "pull_model_trajectories": INSTEAD["art.utils.benchmarking.pull_model_trajectories"],
    "adapter_retention_lease": _STEPS,
    "prune_model_adapters": _CHECKPOINTS,
}
"""Names of ART's modules and classes that are not here, and what to use instead."""


def missing(module: str, name: str) -> Exception:
    """Give the error of a name that a module has not: what to use for one of ART's."""
    if name in NAMES:
        return ImportError(f"There is no {module}.{name} here: {NAMES[name]}", name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def instead_in(module: str) -> Callable[[str], Any]:
    """Give the `__getattr__` of a module that ART has too."""

    def refuse(name: str) -> Any:
        raise missing(module, name)

    return refuse


class _Signature:
    """The signature of a class of pydantic that is built with its first use, and `help` is one."""

    def __get__(self, instance: object, owner: Any) -> Signature:
        # Built, it has a signature of its own, in the place of this one.
        owner.model_rebuild()
        return owner.__signature__


class SaysInstead:
    """Says of an attribute that ART's class has, and ours has not, what to use instead."""

    if not TYPE_CHECKING:  # a type checker would believe that there is every attribute

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            # Each has one of its own, or it would have that of the class above once that one is built.
            cls.__signature__ = _Signature()

        def __getattr__(self, name: str) -> Any:
            if name in NAMES:
                raise AttributeError(f"{type(self).__name__} has no {name} here: {NAMES[name]}", name=name, obj=self)
            beyond = getattr(super(), "__getattr__", None)
            if beyond is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            return beyond(name)


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
