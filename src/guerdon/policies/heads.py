"""How a critic's raw outputs stand for a value, and how they are regressed on one: a number, a histogram, a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from guerdon.core.errors import PlanError


class ValueHead(Protocol):
    """What the last layer of a critic means. Tensors may have any leading dimensions."""

    @property
    def outputs(self) -> int:
        """K, raw outputs per value."""
        ...

    def value(self, raw: Tensor) -> Tensor:
        """[...] expected return, from raw outputs [..., K]."""
        ...

    def std(self, raw: Tensor) -> Tensor | None:
        """[...] spread that the head foresees, in units of return; None where it foresees none."""
        ...

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """[...] loss of raw outputs [..., K] against returns [...]; no gradient goes to the target."""
        ...

    def bias(self) -> Tensor:
        """[K] biases of a last layer that begins at value 0 (with zero weights), or as near to it as the head can."""
        ...


@dataclass(frozen=True)
class Scalar:
    r"""The output is the value; $L = \frac{1}{2} (v - G)^2$.

    Example:
        >>> Scalar().loss(torch.tensor([[1.0], [2.0]]), torch.tensor([4.0, 2.0]))
        tensor([4.5000, 0.0000])
    """

    @property
    def outputs(self) -> int:
        return 1

    def value(self, raw: Tensor) -> Tensor:
        return raw[..., 0]

    def std(self, raw: Tensor) -> None:
        return None

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (raw[..., 0] - target.detach().to(raw)).square()

    def bias(self) -> Tensor:
        return torch.zeros(1)


@dataclass(frozen=True)
class HLGauss:
    r"""A histogram over ``[low, high]``, learned by cross entropy to a smoothed target: value learning as classification.

    The interval has ``bins`` bins of equal width $w$ with centres $z_i$ and edges $e_i$. A return $G$ becomes a Gaussian with
    standard deviation $\sigma w$, truncated to the interval:
    $p_i \propto \Phi((e_{i+1} - G) / \sigma w) - \Phi((e_i - G) / \sigma w)$. The loss is
    $-\sum_i p_i \log \mathrm{softmax}(x)_i$, the value $\sum_i z_i \, \mathrm{softmax}(x)_i$.

    Returns outside the interval count as its nearest end. Within about two bins of an end the truncation pulls values inwards,
    by 0.7 of a bin at the end itself: choose an interval somewhat wider than the returns.

    Args:
        low: Smallest return.
        high: Largest return.
        bins: How many bins.
        sigma: Standard deviation of the smoothing, in bin widths.

    Example:
        >>> head = HLGauss(-10.0, 10.0, bins=101)
        >>> p = head.histogram(torch.tensor([3.21]))
        >>> p.shape, round(float(head.value(p.log())), 3)
        (torch.Size([1, 101]), 3.21)

    Source: Farebrother et al., arXiv:2403.03950 (HL-Gauss: Imani & White, arXiv:1806.04613).
    """

    low: float
    high: float
    bins: int = 101
    sigma: float = 0.75

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise PlanError(f"HLGauss: expected finite low < high, got low={self.low}, high={self.high}")
        if self.bins < 2:
            raise PlanError(f"HLGauss: bins must be at least 2, got {self.bins}")
        if not self.sigma > 0:
            raise PlanError(f"HLGauss: sigma must be above 0, got {self.sigma}")

    @property
    def outputs(self) -> int:
        return self.bins

    @property
    def width(self) -> float:
        """Of a bin, in units of return."""
        return (self.high - self.low) / self.bins

    def _edges(self, like: Tensor) -> Tensor:
        return torch.linspace(self.low, self.high, self.bins + 1, dtype=like.dtype, device=like.device)

    def centres(self, like: Tensor) -> Tensor:
        """[bins], in the number format and on the device of ``like``."""
        edges = self._edges(like)
        return 0.5 * (edges[1:] + edges[:-1])

    def histogram(self, target: Tensor) -> Tensor:
        """[..., bins] probabilities that stand for returns [...]."""
        inside = target.clamp(self.low, self.high)[..., None]
        below = torch.special.erf((self._edges(target) - inside) / (math.sqrt(2) * self.sigma * self.width))
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def value(self, raw: Tensor) -> Tensor:
        return raw.softmax(-1) @ self.centres(raw)

    def std(self, raw: Tensor) -> Tensor:
        """[...] of the histogram; the smoothing is part of it."""
        p, centres = raw.softmax(-1), self.centres(raw)
        return (p * (centres - (p @ centres)[..., None]).square()).sum(-1).sqrt()

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return -(self.histogram(target.detach().to(raw)) * raw.log_softmax(-1)).sum(-1)

    def bias(self) -> Tensor:
        """[bins] of the broadest histogram with mean 0; of the nearest mean a bin inside where 0 is not in the interval."""
        centres = self.centres(torch.zeros((), dtype=torch.double))
        margin = min(self.width, 0.25 * (self.high - self.low))
        mean = min(max(0.0, self.low + margin), self.high - margin)
        places = (centres - mean) / (self.high - self.low)
        few, many = -1e4, 1e4  # the mean rises with the slope of a log-linear histogram: bisect
        for _ in range(100):
            slope = 0.5 * (few + many)
            few, many = (slope, many) if float((slope * places).softmax(0) @ places) < 0 else (few, slope)
        return (slope * places).log_softmax(0).float()


@dataclass(frozen=True)
class GaussianValue:
    r"""A mean $\mu$ and a log-variance $\ell$, learned by the negative log-likelihood of the returns, in nats.

    $L = \frac{1}{2} \left(\ell + (G - \mu)^2 e^{-\ell} + \log 2 \pi\right)$. The log-variance is bounded smoothly,
    $\ell = b \tanh(x / b)$: neither a lucky guess nor an outlier makes it run away.

    Args:
        bound: b, in log units of squared return.

    Example:
        >>> raw = torch.tensor([2.0, 0.0])                                     # mean 2, variance 1
        >>> head = GaussianValue()
        >>> head.value(raw), head.std(raw), head.loss(raw, torch.tensor(3.0))  # 0.5 (0 + 1 + log 2 pi)
        (tensor(2.), tensor(1.), tensor(1.4189))

    Source: Nix & Weigend, 1994 (mean-variance estimation).
    """

    bound: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.bound <= 40:  # exp(40) is as much as float32 squares
            raise PlanError(f"GaussianValue: bound must be above 0 and at most 40, got {self.bound}")

    @property
    def outputs(self) -> int:
        return 2

    def value(self, raw: Tensor) -> Tensor:
        return raw[..., 0]

    def log_variance(self, raw: Tensor) -> Tensor:
        """[...], between -bound and bound."""
        return self.bound * torch.tanh(raw[..., 1] / self.bound)

    def std(self, raw: Tensor) -> Tensor:
        return (0.5 * self.log_variance(raw)).exp()

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_variance = self.log_variance(raw)
        gap = (raw[..., 0] - target.detach().to(raw)).square()
        return 0.5 * (log_variance + gap * (-log_variance).exp() + math.log(2 * math.pi))

    def bias(self) -> Tensor:
        return torch.zeros(2)
