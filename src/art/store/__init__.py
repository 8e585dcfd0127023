"""Checkpoints as write-once folders: bytes, digests and lineage. Never sees a tensor."""
