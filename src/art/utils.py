"""The names that scripts import from `art.utils`."""

from art.rollouts import DatasetBatch, iterate_dataset, limit_concurrency, retry

__all__ = ["DatasetBatch", "iterate_dataset", "limit_concurrency", "retry"]
