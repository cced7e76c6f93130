"""The parts of a U-Net's level: a residual block, a look across all pixels, a look along time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.policies.denoising._initial import initialise, zero


def norm(channels: int) -> nn.GroupNorm:
    """Group norm with up to 8 groups of at least 4 channels.

    >>> [norm(c).num_groups for c in (2, 12, 32, 36)]
    [1, 3, 8, 6]
    """
    return nn.GroupNorm(max(g for g in range(1, 9) if channels % g == 0 and (g == 1 or channels // g >= 4)), channels)


def conv(before: int, after: int, generator: torch.Generator, stride: int = 1) -> nn.Conv2d:
    """3 by 3, which keeps the size or halves it, rounding up."""
    return initialise(lambda: nn.Conv2d(before, after, 3, stride, 1), generator)


def pointwise(before: int, after: int, generator: torch.Generator) -> nn.Conv2d:
    """A linear map of each pixel's channels."""
    return initialise(lambda: nn.Conv2d(before, after, 1), generator)


class Block(nn.Module):
    """Two convolutions beside the identity, nothing at first; the signal scales and shifts what is between them."""

    def __init__(self, before: int, after: int, inner: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm, self.between = norm(before), norm(after)
        self.first = conv(before, after, generator)
        self.film = initialise(lambda: nn.Linear(inner, 2 * after), generator)
        self.second = zero(conv(after, after, generator))
        self.past: nn.Module = nn.Identity()
        if before != after:
            self.past = pointwise(before, after, generator)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        h = self.first(nn.functional.silu(self.norm(x)))
        scale, shift = self.film(signal)[:, :, None, None].chunk(2, 1)
        h = self.second(nn.functional.silu(self.between(h) * (1 + scale) + shift))
        return self.past(x) + h


class Across(nn.Module):
    """One fully connected layer across all pixels, added to the identity, nothing at first; the signal scales and shifts it.

    Convolutions treat every place alike: this is what lets the signal name one, and far pixels see each other.
    """

    def __init__(self, size: int, units: int, inner: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gather = initialise(lambda: nn.Linear(size, units), generator)
        self.film = initialise(lambda: nn.Linear(inner, 2 * units), generator)
        self.spread = zero(initialise(lambda: nn.Linear(units, size), generator))

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        scale, shift = self.film(signal).chunk(2, 1)
        seen = nn.functional.silu(self.gather(x.flatten(1)) * (1 + scale) + shift)
        return x + self.spread(seen).reshape(x.shape)


class AlongTime(nn.Module):
    """A convolution over three frames at each pixel, added to the identity, nothing at first."""

    def __init__(self, channels: int, frames: int, generator: torch.Generator) -> None:
        super().__init__()
        self.frames, self.norm = frames, norm(channels)
        self.mix = initialise(lambda: nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)), generator)
        zero(self.mix)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.silu(self.norm(x)).unflatten(0, (-1, self.frames)).flatten(3).transpose(1, 2)  # [N, C, F, H W]
        return x + self.mix(h).transpose(1, 2).reshape(x.shape)


class Level(nn.Module):
    """Blocks at one resolution, then a look along time where there are frames."""

    def __init__(self, before: int, after: int, blocks: int, inner: int, frames: int, generator: torch.Generator) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(before if k == 0 else after, after, inner, generator) for k in range(blocks))
        self.time = AlongTime(after, frames, generator) if frames else nn.Identity()

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, signal)
        return self.time(x)
