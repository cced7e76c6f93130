"""A Gaussian whose spread is a linear function of the features: exploration that depends on the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core import PlanError
from guerdon.core.world import Box, Space
from guerdon.policies.control._bodies import orthogonal
from guerdon.policies.control._heads import ActionHead, Drawn, Gaussian, GaussianHead, TanhGaussian, TanhGaussianHead, _Vector

_FLOOR = 1e-6  # variance that is always there


@dataclass(frozen=True)
class StateDependentGaussian:
    r"""Actions $\mu(s) + \theta^\top h(s)$ with $\theta_{ij} \sim N(0, \sigma_{ij}^2)$ and $h$ the features: gSDE.

    Their density is that of $N(\mu, \sum_i h_i^2 \sigma_{ij}^2 + 10^{-6})$, by which actions are drawn and judged here: noise is
    new at every step, where the paper keeps $\theta$ for a while, so that steps are independent.

    Args:
        log_std: Initial $\log \sigma$.
        squash: Actions go through tanh into a bounded box, as those of ``TanhGaussian``; otherwise they are cut to it.
        clip: Largest absolute mean, before squashing (None: any).
        expln: $\sigma$ grows slower than exp above 1, as $1 + \log(1 + x)$.
        shared: One $\sigma$ for each feature in place of one for each feature and action.
        through: Whether the spread's gradient reaches the body.

    Example:
        >>> from guerdon.core.world import Box
        >>> head = StateDependentGaussian(log_std=0.0).build(2, Box((1,)), torch.Generator().manual_seed(0))
        >>> head.moments(torch.tensor([[3.0, 4.0]]))[1].exp().item()  # sqrt(9 + 16)
        5.0000

    Source: Raffin, Kober & Stulp, arXiv:2005.05719.
    """

    log_std: float = -2.0
    squash: bool = False
    clip: float | None = None
    expln: bool = False
    shared: bool = False
    through: bool = False

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise PlanError(f"StateDependentGaussian: clip must be above 0, got {self.clip}")

    def build(self, width: int, space: Space, generator: torch.Generator) -> ActionHead:
        like = TanhGaussian() if self.squash else Gaussian()
        plain = like.build(width, space, generator)  # looks whether the space fits
        assert isinstance(plain, _Vector)
        return (_Squashed if self.squash else _Cut)(self, width, plain.space, generator)


class _Spread(_Vector):
    """Mean and log standard deviation from features."""

    def __init__(self, spec: StateDependentGaussian, width: int, space: Box, generator: torch.Generator) -> None:
        _Vector.__init__(self, space)
        self.spec = spec
        self.mean = nn.Linear(width, self.noise)
        orthogonal(self.mean, 0.01, generator)
        self.log_sigma = nn.Parameter(torch.full((width, 1 if spec.shared else self.noise), float(spec.log_std)))

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """([N, A] means, [N, A] log standard deviations) before squashing."""
        mean = self.mean(features)
        if self.spec.clip is not None:
            mean = mean.clamp(-self.spec.clip, self.spec.clip)
        std = self.log_sigma.exp()
        if self.spec.expln:
            std = torch.where(self.log_sigma > 0, self.log_sigma.clamp(min=0).log1p() + 1, std)
        h = features if self.spec.through else features.detach()
        return mean, 0.5 * (h.square() @ std.square() + _FLOOR).log().expand_as(mean)


class _Squashed(_Spread, TanhGaussianHead):
    """Drawn and judged as ``TanhGaussianHead`` does, from other moments."""


class _Cut(_Spread, GaussianHead):
    """Drawn as ``GaussianHead`` does, with a spread of each row's own."""

    def draw(self, features: Tensor, noise: Tensor | None, temperature: float | None) -> Drawn:
        mean, log_std = self.moments(features)
        if temperature is not None:
            log_std = log_std + math.log(temperature)
        action = mean if noise is None else mean + log_std.exp() * noise.to(mean)
        return Drawn(action, _logp(action, mean, log_std))

    def read(self, features: Tensor, action: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_std = self.moments(features)
        if temperature is not None:
            log_std = log_std + temperature.log()[:, None]
        entropy = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
        return _logp(action.flatten(1).to(mean), mean, log_std), entropy


def _logp(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    z = (action - mean) * (-log_std).exp()
    return (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
