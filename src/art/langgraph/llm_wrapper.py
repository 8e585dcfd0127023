"""The names that scripts import from `art.langgraph.llm_wrapper`."""

from art.absent import instead_in
from art.langgraph import init_chat_model, wrap_rollout

__all__ = ["init_chat_model", "wrap_rollout"]

__getattr__ = instead_in(__name__)
