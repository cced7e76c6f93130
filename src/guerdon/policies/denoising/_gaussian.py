"""GaussianStep: the one proposal of all chains of real numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from guerdon.core.streams import Stream


@dataclass(frozen=True)
class GaussianStep:
    """A diagonal Gaussian for every row.

    Args:
        mean: [N, *shape].
        std: [N] float64; 0: a plain map.
        clean: [N, *shape] the final state as foreseen.
        dims: Whether ``logp`` and ``entropy`` are sums over dimensions or means of them.
    """

    mean: Tensor
    std: Tensor
    clean: Tensor
    dims: Literal["sum", "mean"] = "sum"

    @property
    def chosen(self) -> Tensor:
        """[N] bool: whether there is noise."""
        return self.std > 0

    @property
    def size(self) -> int:
        """D, dimensions of one state."""
        return self.mean[0].numel() if len(self.mean) else 1

    def draw(self, stream: Stream, start: int) -> Tensor:
        """[N, *shape] next states."""
        if not bool(self.chosen.any()):
            return self.mean
        noise = normal(stream, self.mean.shape[1:], start * self.size, self.mean.dtype).to(self.mean)
        return self.mean + self.std.to(noise).reshape(-1, *[1] * (noise.dim() - 1)) * noise

    def logp(self, after: Tensor) -> Tensor:
        """[N] float64 nats (a dimension, where ``dims`` is ``"mean"``); 0 where nothing was chosen.

        Summed in float64: the sum over a picture has more digits than float32 holds, and ratios are made of the last ones.
        """
        gap = (after - self.mean).flatten(1)
        square = _SumOfSquares.apply(gap) if gap.dtype != torch.double else gap.square().sum(1)
        std = torch.where(self.chosen, self.std, 1.0).to(square)
        size = self.size
        total = -0.5 * square / std.square() - size * (std.log() + 0.5 * math.log(2 * math.pi))
        return torch.where(self.chosen.to(total.device), total if self.dims == "sum" else total / size, 0.0)

    def entropy(self) -> Tensor:
        """[N] float64 nats; it depends on no parameter, as the noise is given."""
        std = torch.where(self.chosen, self.std, 1.0)
        one = std.log() + 0.5 * (1 + math.log(2 * math.pi))
        return torch.where(self.chosen, one * self.size if self.dims == "sum" else one, 0.0)


class _SumOfSquares(torch.autograd.Function):
    """[N] float64 of [N, D]: no [N, D] tensor in float64, forward or backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square().sum(1, dtype=torch.double)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (2 * grad[:, None]).to(x.dtype) * x


def normal(stream: Stream, shape: Sequence[int], start: int = 0, dtype: torch.dtype = torch.double) -> Tensor:
    """[N, *shape] standard normal numbers, one row for each key of the stream."""
    return stream.normal(math.prod(shape), start, dtype).reshape(-1, *shape)
