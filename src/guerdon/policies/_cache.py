"""Keys and values of rows that grow step by step: written in place, aligned at the right, and left by rows that ended."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer


class GrowingLayer(DynamicLayer):
    """[B, G, S, D] keys and values with room at the end. A window that slides is the attention mask's business."""

    is_sliding = False
    is_initialized: bool

    def __init__(self) -> None:
        super().__init__()
        self.used = 0
        self.buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        new = (key_states, value_states)
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.buffers = list(new)
        else:
            if self.used + key_states.shape[2] > self.buffers[0].shape[2]:
                self.buffers = [self._roomy(b[:, :, : self.used]) for b in self.buffers]
            for buffer, x in zip(self.buffers, new, strict=True):
                buffer[:, :, self.used : self.used + x.shape[2]] = x
        self._view(self.used + key_states.shape[2])
        return self.keys, self.values

    def _view(self, used: int) -> None:
        self.used = used
        self.keys, self.values = (b[:, :, :used] for b in self.buffers)

    def _roomy(self, x: Tensor) -> Tensor:
        rows, groups, used, width = x.shape
        # An odd number of slots: rows whose distance is a power of two would fall on the same cache lines.
        out = x.new_empty(rows, groups, (used + max(32, used // 2)) | 1, width)
        out[:, :, :used] = x
        return out

    def get_seq_length(self) -> int:
        return self.used

    def reorder_cache(self, beam_idx: Tensor) -> None:
        if self.is_initialized:
            self.buffers = [self._roomy(b[:, :, : self.used].index_select(0, beam_idx)) for b in self.buffers]
            self._view(self.used)

    def align(self, shift: Tensor) -> None:
        """Moves row b to the right by ``shift[b]`` slots; what falls out at the end comes back, unread, at the start."""
        if self.is_initialized:
            place = (torch.arange(self.used, device=shift.device) - shift[:, None]) % self.used
            self.buffers = [b.gather(2, place[:, None, :, None].expand(b.shape)) for b in self.buffers]
            self._view(self.used)


class GrowingCache(DynamicCache):
    """A cache of growing layers where the model attends, of its own layers where it keeps another kind of state.

    ``aligned`` says whether rows of different lengths can share it; a recurrent state cannot be moved.
    """

    layers: list[Any]

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        plain = (DynamicLayer, DynamicSlidingWindowLayer)
        self.layers = [GrowingLayer() if type(layer) in plain else layer for layer in self.layers]
        self.aligned = all(isinstance(layer, GrowingLayer | DummyLayer) for layer in self.layers)

    def align(self, shift: Tensor) -> None:
        """Rows end together, whatever their lengths: row b has ``shift[b]`` unread slots at its start."""
        for layer in self.layers:
            if isinstance(layer, GrowingLayer):
                layer.align(shift)
