"""The names that scripts import from `art.utils`.

Each comes from the module of its own name, so that importing that one later does not put a module in its place.
"""

from art.utils.format_message import format_message
from art.utils.get_model_step import get_model_step
from art.utils.iterate_dataset import DatasetBatch, iterate_dataset
from art.utils.limit_concurrency import limit_concurrency
from art.utils.retry import retry
from art.utils.strip_logprobs import strip_logprobs
from art.utils.trained_on import trained_on

__all__ = [
    "DatasetBatch",
    "format_message",
    "get_model_step",
    "iterate_dataset",
    "limit_concurrency",
    "retry",
    "strip_logprobs",
    "trained_on",
]
