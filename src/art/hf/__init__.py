"""Runs of the Trainer of transformers, and of TRL, as branches: `art.hf.Branch`."""

from art.hf.branch import Branch

__all__ = ["Branch"]
