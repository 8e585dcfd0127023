"""Counts bytes of tensors, those that live and their most."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Allocated(TorchDispatchMode):
    """Counts the bytes of tensors that were made in this context and still live, and their most."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now_bytes = self.most_bytes = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._known:
            return
        self._known.add(place)
        self.now_bytes += storage.nbytes()
        self.most_bytes = max(self.most_bytes, self.now_bytes)
        weakref.finalize(storage, self._freed, place, storage.nbytes())

    def _freed(self, place: int, size_bytes: int) -> None:
        self._known.discard(place)
        self.now_bytes -= size_bytes
