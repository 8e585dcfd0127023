"""The name under which `CheckpointStore` was published first; it lies in `art.store.store` now."""

from art.store.store import CheckpointStore

__all__ = ["CheckpointStore"]
