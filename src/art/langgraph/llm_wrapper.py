"""The names that scripts import from `art.langgraph.llm_wrapper`."""

from art.langgraph import init_chat_model, wrap_rollout

__all__ = ["init_chat_model", "wrap_rollout"]
