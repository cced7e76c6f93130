"""Fully connected layers as a denoiser, for points in the plane and very small pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from guerdon.core.errors import PlanError
from guerdon.policies.denoising._conditions import Condition
from guerdon.policies.denoising._initial import initialise, zero
from guerdon.policies.denoising.networks._base import Denoiser, Signal, picture_of


@dataclass(frozen=True)
class DenoiserMLP:
    """Fully connected layers with SiLU; time and condition scale and shift each of them (FiLM, arXiv:1709.07871).

    Args:
        widths: Units of each layer. The features are the last layer's.

    Example:
        >>> network = DenoiserMLP((16, 16)).build((2,), 0, 0, torch.Generator().manual_seed(0))
        >>> network(torch.randn(5, 2), torch.rand(5), Condition()).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """

    widths: tuple[int, ...] = (128, 128)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or min(self.widths) < 1:
            raise PlanError(f"DenoiserMLP: widths must be one or more numbers from 1, got {self.widths}")

    def build(self, shape: tuple[int, ...], embedding: int, channels: int, generator: torch.Generator) -> Denoiser:
        """Reads states of any shape."""
        if not shape or any(s < 1 for s in shape) or (channels and len(shape) < 3):
            beside = f" beside a picture of {channels} channels" if channels else ""
            raise PlanError(f"DenoiserMLP: cannot read states of shape {tuple(shape)}{beside}")
        return _MLP(self.widths, shape, embedding, channels, generator)


class _MLP(Denoiser):
    def __init__(
        self, widths: tuple[int, ...], shape: tuple[int, ...], embedding: int, channels: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        self.channels, self.width = channels, widths[-1]
        sizes = [size + channels * math.prod(shape[-2:]), *widths]
        self.signal = Signal(max(32, widths[0]), embedding, generator)
        self.layers = initialise(lambda: nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)), generator)
        inner = self.signal.width
        self.films = initialise(lambda: nn.ModuleList(nn.Linear(inner, 2 * w) for w in widths), generator)
        self.last = zero(initialise(lambda: nn.Linear(widths[-1], size), generator))

    def features(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        x = x.to(self.last.weight)
        h = torch.cat([x.flatten(1), picture_of(condition, x).flatten(1)], 1) if self.channels else x.flatten(1)
        told = self.signal(time, condition)
        for layer, film in zip(self.layers, self.films, strict=True):
            scale, shift = film(told).chunk(2, 1)
            h = nn.functional.silu(layer(h) * (1 + scale) + shift)
        return h

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        return self.last(self.features(x, time, condition)).reshape(x.shape)
