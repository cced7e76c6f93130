"""Clip, SoftClip and CISPO: what keeps one batch from moving the policy too far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.core.errors import PlanError


def check_bounds(name: str, low: float, high: float) -> None:
    if not 0 < low <= 1:
        raise PlanError(f"{name}: low must be above 0 and at most 1 (no lower bound), got {low}")
    if not (high > 0 and not math.isnan(high)):
        raise PlanError(f"{name}: high must be above 0, got {high}")


@dataclass(frozen=True)
class Clip:
    r"""The pessimistic clipped surrogate: $-\min\left(rA, \mathrm{clip}(r, 1 - \mathrm{low}, 1 + \mathrm{high})\,A\right)$.

    Args:
        low: How far the ratio may fall below 1 (1: no lower bound).
        high: How far it may rise above 1; larger than ``low`` is DAPO's clip-higher.
        dual: Where the advantage is negative, the loss is at most ``-dual * A`` at any ratio; above 1. None: no bound.

    Example:
        >>> r, a = torch.tensor([1.5, 1.5, 0.5, 5.0]), torch.tensor([1.0, -1.0, -1.0, -1.0])
        >>> Clip(0.2, 0.2, dual=3.0)(r.log(), a, r.log()).tolist()
        [-1.2, 1.5, 0.8, 3.0]

    Sources: PPO (arXiv:1707.06347), DAPO (arXiv:2503.14476), Dual-clip PPO (arXiv:1912.09729).
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None

    def __post_init__(self) -> None:
        check_bounds("Clip", self.low, self.high)
        if self.dual is not None and not self.dual > 1:
            raise PlanError(f"Clip: dual must be above 1, got {self.dual}")

    def __call__(self, log_ratio: Tensor, advantage: Tensor, logp: Tensor) -> Tensor:
        """[B, T] loss at every step."""
        ratio = log_ratio.exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.low, 1 + self.high) * advantage)
        if self.dual is not None:
            gain = torch.where(advantage < 0, torch.maximum(gain, self.dual * advantage), gain)
        return -gain


@dataclass(frozen=True)
class SoftClip:
    r"""A smooth gate instead of a corner: $-\frac{4}{\tau} \sigma\left(\tau (r - 1)\right) A$ with its slope 1 at $r = 1$.

    Args:
        positive: Temperature $\tau$ where the advantage is above 0.
        negative: Temperature $\tau$ elsewhere; larger values let go sooner.

    Example:
        >>> SoftClip()(torch.zeros(1), torch.ones(1), torch.zeros(1)).tolist()
        [-2.0]

    Source: SAPO (arXiv:2511.20347).
    """

    positive: float = 1.0
    negative: float = 1.05

    def __post_init__(self) -> None:
        if not (self.positive > 0 and self.negative > 0):
            raise PlanError(f"SoftClip: temperatures must be above 0, got {self.positive} and {self.negative}")

    def __call__(self, log_ratio: Tensor, advantage: Tensor, logp: Tensor) -> Tensor:
        """[B, T] loss at every step."""
        tau = torch.where(advantage > 0, self.positive, self.negative).to(advantage)
        return -torch.sigmoid(tau * (log_ratio.exp() - 1)) * 4 / tau * advantage


@dataclass(frozen=True)
class CISPO:
    r"""The ratio as a clipped constant weight.

    $-\mathrm{sg}\left[\mathrm{clip}(r, 1 - \mathrm{low}, 1 + \mathrm{high})\right] A \log \pi_\theta$:
    no step loses its gradient; rare steps only lose the excess of their weight.

    Args:
        low: How far the weight may fall below 1 (1: no lower bound, as in the paper's use).
        high: How far it may rise above 1.

    Example:
        >>> logp = torch.tensor([-2.0], requires_grad=True)
        >>> CISPO(high=1.0)(torch.tensor([3.0]), torch.tensor([0.5]), logp).backward()
        >>> logp.grad.tolist()  # the weight e^3 is cut to 2
        [-1.0]

    Source: CISPO (arXiv:2506.13585).
    """

    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        check_bounds("CISPO", self.low, self.high)

    def __call__(self, log_ratio: Tensor, advantage: Tensor, logp: Tensor) -> Tensor:
        """[B, T] loss at every step."""
        weight = log_ratio.detach().exp().clamp(1 - self.low, 1 + self.high)
        return -weight * advantage * logp


def unclipped(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """[B, T] the plain surrogate $-rA$."""
    return -log_ratio.exp() * advantage


Surrogate = Clip | SoftClip | CISPO
