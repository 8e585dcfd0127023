"""Where scripts import `iterate_dataset` from."""

from art.rollouts import DatasetBatch, iterate_dataset

__all__ = ["DatasetBatch", "iterate_dataset"]
