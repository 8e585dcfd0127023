"""Samples with vLLM: servers that run in their own environment, asked over HTTP."""
