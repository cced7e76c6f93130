"""Features of pictures: where distances between them are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, PlanError

_AT_ONCE = 256


@dataclass(frozen=True)
class Pixels:
    r"""The picture itself, made small: the root mean square difference of pixels is the distance.

    Each picture (each frame of a video) is averaged down to at most ``side`` pixels along each side, and its numbers divided by
    the root of how many there are, so that a distance lies between 0 and 2 (all black against all white) whatever the size.
    Rows without height and width (points, vectors) are their own features.

    Args:
        side: Pixels along each side, at most. Averaging also hides patterns that are finer.
        cut: Values are cut to [-1, 1] first, as they are when a picture is shown. Two pictures that are white and whiter look
            alike, so diversity is measured of what is seen; leaving the range is leaving the data, so distances from data are
            not.

    Example:
        >>> x = Pixels(side=2)(torch.stack([torch.ones(3, 8, 8), -torch.ones(3, 8, 8)]))
        >>> x.shape, float((x[0] - x[1]).norm())
        (torch.Size([2, 12]), 2.0)
    """

    side: int = 16
    cut: bool = True

    def __post_init__(self) -> None:
        if type(self.side) is not int or self.side < 1:
            raise PlanError(f"Pixels: side must be a whole number of at least 1, got {self.side!r}")

    def __call__(self, pictures: Tensor) -> Tensor:
        """[N, ...] to [N, D]."""
        x = pictures.double()
        if x.dim() >= 4:
            x = x.clamp(-1, 1) if self.cut else x
            size = (min(self.side, x.shape[-2]), min(self.side, x.shape[-1]))
            x = nn.functional.adaptive_avg_pool2d(x.flatten(0, -4), size) if size != tuple(x.shape[-2:]) else x
        x = x.reshape(len(pictures), -1)
        return x / max(1, x.shape[1]) ** 0.5


def built(features: Any) -> Callable[[Tensor], Tensor]:
    """What a spec of features computes: the spec itself where it is callable, else what its ``build()`` gives.

    Raises:
        PlanError: where it is neither.
    """
    made = features.build() if callable(getattr(features, "build", None)) else features
    if isinstance(made, type) or not callable(made):
        name = type(features).__name__
        raise PlanError(f"features: expected a callable [N, C, H, W] -> [N, D], or a spec with build(), got {name}")
    if isinstance(made, nn.Module):
        made.eval()

    @torch.no_grad()
    def of(pictures: Tensor) -> Tensor:
        if not len(pictures):
            return torch.zeros(0, 1, dtype=torch.double)
        weight = next(made.parameters(), None) if isinstance(made, nn.Module) else None
        kept = pictures if weight is None else pictures.to(weight.device, weight.dtype)
        x = torch.cat([made(part) for part in kept.split(_AT_ONCE)])
        if x.dim() != 2 or len(x) != len(pictures):
            raise DataError(f"features: gave shape {tuple(x.shape)} for {len(pictures)} pictures, expected [{len(pictures)}, D]")
        return x.detach().cpu().double()

    return of
