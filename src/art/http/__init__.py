"""The OpenAI-compatible door over a sampler. Knows HTTP and text; never the store, training or adapters."""
