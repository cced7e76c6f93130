"""A small U-Net for pictures of 8 to 32 pixels and short videos, quick on one processor core."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core.errors import PlanError
from guerdon.policies.denoising._conditions import Condition
from guerdon.policies.denoising._initial import zero
from guerdon.policies.denoising.networks._base import Denoiser, Signal, picture_of
from guerdon.policies.denoising.networks._blocks import Across, Level, conv, norm, pointwise


@dataclass(frozen=True)
class UNet:
    """Residual convolutions at falling and rising resolution, with a bridge at each level; time and condition scale and shift.

    It is narrow where pixels are many, and bridges are added rather than concatenated: on one core, steps are worth more than
    width. Any height and width will do: going down rounds up, and going up takes the size of the bridge.

    Videos (frames, channels, H, W) are read frame by frame, and each level then looks along time by a convolution over three
    frames that begins at the identity, so that a new network treats all frames alike but for a learned vector of each frame's
    place.

    Args:
        channels: Of each level; every level has half the resolution of the one before.
        blocks: Residual blocks of each level, on the way down and again on the way up.
        dense: Units of a fully connected layer across the lowest level, before its blocks, so that captions can name places and
            far pixels see each other; 0: none.

    Example:
        >>> network = UNet((8, 16)).build((3, 7, 9), 0, 0, torch.Generator().manual_seed(0))
        >>> x = torch.randn(2, 3, 7, 9)
        >>> network(x, torch.rand(2), Condition()).shape, network.features(x, torch.rand(2), Condition()).shape
        (torch.Size([2, 3, 7, 9]), torch.Size([2, 16]))

    Source: DDPM (arXiv:2006.11239), improved DDPM (arXiv:2102.09672); time and space apart as in arXiv:2204.03458.
    """

    channels: tuple[int, ...] = (16, 32)
    blocks: int = 1
    dense: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or min(self.channels) < 2:
            raise PlanError(f"UNet: channels must be one or more numbers from 2, got {self.channels}")
        if self.blocks < 1 or self.dense < 0:
            raise PlanError(f"UNet: blocks must be at least 1 and dense at least 0, got {self.blocks} and {self.dense}")

    def build(self, shape: tuple[int, ...], embedding: int, channels: int, generator: torch.Generator) -> Denoiser:
        """Reads pictures (channels, H, W) and videos (frames, channels, H, W)."""
        if len(shape) not in (3, 4) or any(s < 1 for s in shape):
            raise PlanError(f"UNet: it reads (channels, H, W) or (frames, channels, H, W), and a state has shape {tuple(shape)}; "
                            "take policies.DenoiserMLP")  # fmt: skip
        return _UNet(self, shape, embedding, channels, generator)


class _UNet(Denoiser):
    def __init__(self, spec: UNet, shape: tuple[int, ...], embedding: int, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = spec.channels
        frames, colours = (shape[0] if len(shape) == 4 else 0), shape[-3]
        self.extra, self.frames, self.width = channels, frames, widths[-1]
        inner = 4 * widths[0]
        self.signal = Signal(inner, embedding, generator)
        self.place = nn.Parameter(0.1 * torch.randn(frames, inner, generator=generator)) if frames else None
        self.first = conv(colours + channels, widths[0], generator)

        def level(before: int, after: int) -> Level:
            return Level(before, after, spec.blocks, inner, frames, generator)

        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        before, lowest = widths[0], shape[-2:]
        for k, width in enumerate(widths[:-1]):
            self.down.append(level(before, width))
            self.shrink.append(conv(width, width, generator, stride=2))
            self.grow.append(pointwise(widths[k + 1], width, generator))
            self.up.append(level(width, width))
            before, lowest = width, tuple(-(-size // 2) for size in lowest)
        self.across = Across(before * math.prod(lowest), spec.dense, inner, generator) if spec.dense else None
        self.middle = level(before, widths[-1])
        self.norm = norm(widths[0])
        self.last = zero(conv(widths[0], colours, generator))

    def _read(self, x: Tensor, time: Tensor, condition: Condition) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(middle, signal, bridges), frames among the rows."""
        h, signal = x.to(self.last.weight), self.signal(time, condition)
        if self.extra:
            picture = picture_of(condition, h)
            if self.frames and picture.ndim == 4:
                picture = picture[:, None].expand(-1, self.frames, -1, -1, -1)
            h = torch.cat([h, picture], -3)
        if self.place is not None:
            h, signal = h.flatten(0, 1), (signal[:, None] + self.place).flatten(0, 1)
        h, bridges = self.first(h), []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            h = level(h, signal)
            bridges.append(h)
            h = shrink(h)
        if self.across is not None:
            h = self.across(h, signal)
        return self.middle(h, signal), signal, bridges

    def features(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        middle = self._read(x, time, condition)[0].mean((2, 3))
        return middle.unflatten(0, (-1, self.frames)).mean(1) if self.frames else middle

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        h, signal, bridges = self._read(x, time, condition)
        for level, grow, bridge in zip(reversed(self.up), reversed(self.grow), reversed(bridges), strict=True):
            h = level(nn.functional.interpolate(grow(h), size=bridge.shape[-2:], mode="nearest") + bridge, signal)
        return self.last(nn.functional.silu(self.norm(h))).reshape(x.shape)
