"""Our own engine: continuous batching, exact where a request asks for it. One worker thread touches tensors."""
