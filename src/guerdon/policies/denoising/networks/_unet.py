"""A small U-Net for pictures of 8 to 32 pixels and short videos, quick on one processor core."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core.errors import ModelError, PlanError
from guerdon.policies.denoising._conditions import Condition
from guerdon.policies.denoising._initial import zero
from guerdon.policies.denoising.networks._base import Denoiser, Signal
from guerdon.policies.denoising.networks._blocks import Level, conv, norm


@dataclass(frozen=True)
class UNet:
    """Residual convolutions at falling and rising resolution, with a bridge at each level; time and condition scale and shift.

    Any height and width will do: going down rounds up, and going up takes the size of the bridge. Videos (frames, channels,
    H, W) are read frame by frame, and each level then looks along time by a convolution over three frames that begins at
    the identity, so that a new network treats all frames alike but for a learned vector of each frame's place.

    Args:
        channels: Of each level; every level has half the resolution of the one before.
        blocks: Residual blocks of each level, on the way down and again on the way up.
        patch: Pixels on a side that the first level reads as one (their colours become channels); 2 costs a quarter of 1.
        attention: Self-attention at the lowest level, so that far pixels see each other.

    Example:
        >>> network = UNet((8, 16)).build((3, 7, 9), 0, 0, torch.Generator().manual_seed(0))
        >>> x = torch.randn(2, 3, 7, 9)
        >>> network(x, torch.rand(2), Condition()).shape, network.features(x, torch.rand(2), Condition()).shape
        (torch.Size([2, 3, 7, 9]), torch.Size([2, 16]))

    Source: DDPM (arXiv:2006.11239), improved DDPM (arXiv:2102.09672); time and space apart as in arXiv:2204.03458.
    """

    channels: tuple[int, ...] = (32, 64)
    blocks: int = 1
    patch: int = 1
    attention: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or min(self.channels) < 2:
            raise PlanError(f"UNet: channels must be one or more numbers from 2, got {self.channels}")
        if self.blocks < 1 or self.patch < 1:
            raise PlanError(f"UNet: blocks and patch must be at least 1, got blocks={self.blocks}, patch={self.patch}")

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
        self.extra, self.frames, self.patch, self.width = channels, frames, spec.patch, widths[-1]
        inner = 4 * widths[0]
        self.signal = Signal(inner, embedding, generator)
        self.place = nn.Parameter(0.1 * torch.randn(frames, inner, generator=generator)) if frames else None
        self.first = conv((colours + channels) * spec.patch**2, widths[0], generator)

        def level(before: int, after: int, attention: bool = False) -> Level:
            return Level(before, after, spec.blocks, inner, frames, attention, generator)

        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        before = widths[0]
        for k, width in enumerate(widths[:-1]):
            self.down.append(level(before, width))
            self.shrink.append(conv(width, width, generator, stride=2))
            self.grow.append(conv(widths[k + 1], width, generator))
            self.up.append(level(2 * width, width))
            before = width
        self.middle = level(before, widths[-1], spec.attention)
        self.norm = norm(widths[0])
        self.last = zero(conv(widths[0], colours * spec.patch**2, generator))

    def _read(self, x: Tensor, time: Tensor, condition: Condition) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(middle, signal, bridges), frames among the rows."""
        h, signal = x.to(self.last.weight), self.signal(time, condition)
        if self.extra:
            picture = condition.picture
            if picture is None:
                raise ModelError("this network was built to read a picture beside the state and is given none")
            if picture.shape[-2:] != x.shape[-2:]:
                raise ModelError(f"the picture beside the state is {tuple(picture.shape[-2:])}, the state {tuple(x.shape[-2:])}")
            if self.frames and picture.ndim == 4:
                picture = picture[:, None].expand(-1, self.frames, -1, -1, -1)
            h = torch.cat([h, picture.to(h)], -3)
        if self.place is not None:
            h, signal = h.flatten(0, 1), (signal[:, None] + self.place).flatten(0, 1)
        bottom, right = (-size % self.patch for size in x.shape[-2:])
        h, bridges = self.first(nn.functional.pixel_unshuffle(nn.functional.pad(h, (0, right, 0, bottom)), self.patch)), []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            h = level(h, signal)
            bridges.append(h)
            h = shrink(h)
        return self.middle(h, signal), signal, bridges

    def features(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        middle = self._read(x, time, condition)[0].mean((2, 3))
        return middle.unflatten(0, (-1, self.frames)).mean(1) if self.frames else middle

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        h, signal, bridges = self._read(x, time, condition)
        for level, grow, bridge in zip(reversed(self.up), reversed(self.grow), reversed(bridges), strict=True):
            h = grow(nn.functional.interpolate(h, size=bridge.shape[-2:], mode="nearest"))
            h = level(torch.cat([h, bridge], 1), signal)
        out = nn.functional.pixel_shuffle(self.last(nn.functional.silu(self.norm(h))), self.patch)
        return out[:, :, : x.shape[-2], : x.shape[-1]].reshape(x.shape)
