"""The same checkpoints in a bucket or on a hub: bytes over a network. Never sees a tensor."""
