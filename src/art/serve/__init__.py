"""Tokens out: continuous-batching inference behind an OpenAI-compatible server.

Knows tensors and HTTP; never the store, training or adapters: weights arrive as plain tensors under a version's name.
"""
