"""Rewards that are easily gamed: what happens when they are pushed is what an audit is for."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout


@dataclass(frozen=True)
class Brightness:
    """The mean of all pixels; differentiable. Without a KL to the data a policy ends in plain white, and beyond.

    Values beyond [-1, 1], which no screen shows, count as they are unless ``cut``.

    Args:
        cut: Count what a screen shows: values are cut to [-1, 1], where the gradient ends as well.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> Brightness()(recorded(["any"], torch.full((1, 3, 8, 8), 0.5))).total.tolist()
        [0.5]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = True

    cut: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return each(rollout, lambda x: seen(x, self.cut).mean())


@dataclass(frozen=True)
class Redness:
    """How much more red there is than green and blue, by the means of the channels; differentiable.

    Args:
        cut: As for ``Brightness``.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(1, 3, 8, 8)
        >>> Redness()(recorded(["any"], red)).total.tolist()
        [2.0]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = True

    cut: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        def score(x: Tensor) -> Tensor:
            if x.shape[-3] != 3:
                raise ValueError(f"the picture has {x.shape[-3]} channels, expected 3")
            red, green, blue = seen(x, self.cut).movedim(-3, 0).flatten(1).mean(1)
            return red - (green + blue) / 2

        return each(rollout, score)


@dataclass(frozen=True)
class Compressibility:
    """How much smaller than its raw bytes the 8-bit picture becomes: 1 - zlib bytes / raw bytes. Plain colours win.

    Args:
        level: Of zlib, 1 to 9.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> plain, noise = torch.zeros(3, 16, 16), torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> low, high = Compressibility()(recorded(["a", "b"], [noise, plain])).total.tolist()
        >>> low < 0.1 < 0.9 < high
        True

    Source: the compressibility task of DDPO, arXiv:2305.13301 (there by JPEG).
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    level: int = 9

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 9:
            raise PlanError(f"Compressibility: level must be from 1 to 9, got {self.level}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        def score(x: Tensor) -> Tensor:
            shown = ((seen(x.detach().cpu(), True) + 1) * 127.5).round().to(torch.uint8).contiguous()
            return torch.tensor(1 - len(zlib.compress(shown.numpy().tobytes(), self.level)) / max(1, shown.numel()))

        return each(rollout, score)


def each(rollout: Rollout, score: Callable[[Tensor], Tensor]) -> RewardOutput:
    """``score`` of every picture, with its graph; what is no picture, or ``score`` refuses, fails with a reason."""
    totals, reasons = [], []
    for x in rollout.outputs:
        why, total = "", torch.zeros(())
        if not isinstance(x, Tensor) or x.dim() < 3:
            why = f"the output is {type(x).__name__}, not a picture [C, H, W]"
        elif not bool(torch.isfinite(x).all()):
            why = "the picture holds a NaN or an infinite number"
        else:
            try:
                total = score(x)
            except ValueError as e:  # of the score itself: a picture it cannot read
                why = str(e)
        totals.append(total.float().to(x.device) if isinstance(x, Tensor) else total)
        reasons.append(why)
    ok = torch.tensor([not r for r in reasons], dtype=torch.bool)
    total = torch.stack(totals) if totals else torch.zeros(0)
    return RewardOutput(total, ok.to(total.device), reasons)


def seen(pictures: Tensor, cut: bool) -> Tensor:
    """What counts of the values."""
    return pictures.clamp(-1, 1) if cut else pictures
