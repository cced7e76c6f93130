r"""f-divergences between a policy and a reference, as functions of the log-ratio; and estimates of the KL.

$D_f(\pi \| \rho) = \mathbb{E}_\rho[f(u)]$ with $u = \pi / \rho$, convex $f$ and $f(1) = 0$. Everything is written in
$\ell = \log u$, so that ratios of long trajectories neither overflow nor lose their digits. What objectives use is the
derivative $f'(u)$: it takes the place of the log-ratio (up to a constant) in DPO and in distribution matching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.core.errors import PlanError
from guerdon.core.stats import Estimator, kl_estimate

__all__ = ["Alpha", "Divergence", "Estimator", "ForwardKL", "JensenShannon", "ReverseKL", "kl_estimate"]


@dataclass(frozen=True)
class ReverseKL:
    r"""$f(u) = u \log u$, $f'(u) = \log u + 1$: $\mathrm{KL}(\pi \| \rho)$, mode-seeking; standard DPO and RLHF.

    >>> ReverseKL().derivative(torch.tensor(0.5)).item()
    1.5
    """

    def f(self, log_ratio: Tensor) -> Tensor:
        return log_ratio.exp() * log_ratio

    def derivative(self, log_ratio: Tensor) -> Tensor:
        return log_ratio + 1


@dataclass(frozen=True)
class ForwardKL:
    r"""$f(u) = -\log u$, $f'(u) = -1/u$: $\mathrm{KL}(\rho \| \pi)$, mass-covering.

    >>> ForwardKL().derivative(torch.tensor(0.0)).item()
    -1.0
    """

    def f(self, log_ratio: Tensor) -> Tensor:
        return -log_ratio

    def derivative(self, log_ratio: Tensor) -> Tensor:
        return -(-log_ratio).exp()


@dataclass(frozen=True)
class JensenShannon:
    r"""$f(u) = u \log u - (u + 1) \log \frac{u + 1}{2}$, $f'(u) = \log \frac{2u}{1 + u}$: twice the Jensen-Shannon divergence.

    >>> round(JensenShannon().derivative(torch.tensor(0.0)).item(), 6)
    0.0
    """

    def f(self, log_ratio: Tensor) -> Tensor:
        u = log_ratio.exp()
        return u * log_ratio - (u + 1) * (torch.nn.functional.softplus(log_ratio) - math.log(2))

    def derivative(self, log_ratio: Tensor) -> Tensor:
        return math.log(2) + torch.nn.functional.logsigmoid(log_ratio)


@dataclass(frozen=True)
class Alpha:
    r"""$f(u) = \frac{u^{\alpha} - \alpha u - 1 + \alpha}{\alpha (\alpha - 1)}$, $f'(u) = \frac{u^{\alpha - 1} - 1}{\alpha - 1}$.

    Between the forward KL ($\alpha \to 0$) and the reverse KL ($\alpha \to 1$), both left to their own classes.

    Args:
        alpha: Neither 0 nor 1.

    >>> Alpha(2.0).derivative(torch.tensor(math.log(3.0))).item()
    2.0
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha) or self.alpha in (0.0, 1.0):
            raise PlanError(f"Alpha: alpha must be finite and neither 0 (ForwardKL) nor 1 (ReverseKL), got {self.alpha}")

    def f(self, log_ratio: Tensor) -> Tensor:
        a = self.alpha
        return ((a * log_ratio).exp() - a * log_ratio.exp() - (1 - a)) / (a * (a - 1))

    def derivative(self, log_ratio: Tensor) -> Tensor:
        return torch.expm1((self.alpha - 1) * log_ratio) / (self.alpha - 1)


Divergence = ReverseKL | ForwardKL | JensenShannon | Alpha
