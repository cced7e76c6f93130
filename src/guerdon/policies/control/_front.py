"""From what a world shows to what a network reads: one-hot numbers, scaled pixels, normalised vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.core import PlanError
from guerdon.core.world import Box, Discrete, Space


class Front(nn.Module):
    """[N, ...] observations to [N, ...] numbers of a network's format: [N, n] one-hot, [N, C, H, W] pixels, or [N, ...] vectors.

    Args:
        space: What is observed.
        normalise: Scale vectors by running statistics, which ``run.ObservationStatistics`` moves.
        dtype: Number format of the network.
    """

    def __init__(self, space: Space, normalise: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.space, self.dtype = space, dtype
        self.pixels = isinstance(space, Box) and space.number == "uint8"
        if normalise and (isinstance(space, Discrete) or self.pixels):
            raise PlanError("normalise: only vectors of numbers are; pixels are scaled and numbered states one-hot")
        self.scale = Normalised(space.shape) if normalise else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what comes out, the row left aside."""
        if isinstance(self.space, Discrete):
            return (self.space.n,)
        if self.pixels and len(self.space.shape) == 3:
            height, width, channels = self.space.shape
            return (channels, height, width)
        return self.space.shape

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.space, Discrete):
            return nn.functional.one_hot(x.long(), self.space.n).to(self.dtype)
        if self.pixels:
            x = x.to(self.dtype) / 255
            return x.movedim(-1, -3) if len(self.space.shape) == 3 else x
        return (x if self.scale is None else self.scale(x)).to(self.dtype)


class Normalised(nn.Module):
    """``clip((x - mean) / sqrt(var + eps))`` with statistics that only ``update`` moves, between draws and never during one.

    Args:
        shape: Of one observation.
        clip: Largest absolute value that is let through.
        eps: Added to the variance.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.clip, self.eps = clip, eps
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.double() - self.mean) / (self.var + self.eps).sqrt()).clamp(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take [N, ...] more observations into the statistics (Chan, Golub & LeVeque 1979; float64).

        >>> scale = Normalised((1,))
        >>> scale.update(torch.tensor([[1.0], [3.0]])), scale.update(torch.tensor([[5.0]]))
        (None, None)
        >>> float(scale.mean), round(float(scale.var), 4), float(scale.count)
        (3.0, 2.6667, 3.0)
        """
        if not len(x):
            return
        x = x.double()
        more, mean, var = len(x), x.mean(0), x.var(0, unbiased=False)
        total, apart = self.count + more, mean - self.mean
        spread = self.var * self.count + var * more + apart.square() * self.count * more / total
        self.mean.add_(apart * more / total)
        self.var.copy_(spread / total)
        self.count.copy_(total)
