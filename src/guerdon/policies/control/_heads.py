"""Heads: distributions of actions. Each is a small spec that builds a module of a few pure functions.

A head draws from noise it is given, [N, noise] numbers of counter-based streams, so that the same row draws the same action
whatever else is in the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from guerdon.core import PlanError
from guerdon.core.world import Box, Discrete, Space
from guerdon.policies.control._bodies import orthogonal


class Drawn(NamedTuple):
    """What a head says of actions.

    Attributes:
        action: [N] or [N, A].
        logp: [N] nats.
    """

    action: Tensor
    logp: Tensor


class ActionHead(nn.Module):
    """[N, D] features to a distribution over actions.

    ``temperature`` is None (1), a number or [N] numbers: it divides logits, and multiplies standard deviations.
    """

    noise: int
    kind: Literal["uniform", "normal"]

    def draw(self, features: Tensor, noise: Tensor | None, temperature: float | None) -> Drawn:
        """An action for each row; without noise, the most likely one."""
        raise NotImplementedError

    def read(self, features: Tensor, action: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """([N] log-probs of given actions, [N] entropies), in nats."""
        raise NotImplementedError

    def to_world(self, action: Tensor) -> Tensor:
        """Actions as a world takes them."""
        return action

    def from_world(self, action: Tensor) -> Tensor:
        """Actions that a world was given, as this head would have drawn them."""
        return action


# -- one of n


@dataclass(frozen=True)
class Categorical:
    """One of n actions, with probabilities by softmax."""

    def build(self, width: int, space: Space, generator: torch.Generator) -> CategoricalHead:
        if not isinstance(space, Discrete):
            raise PlanError(f"Categorical: the actions are {space}; take policies.Gaussian or policies.TanhGaussian")
        return CategoricalHead(width, space.n, generator)


class CategoricalHead(ActionHead):
    """Softmax over a linear layer."""

    noise, kind = 1, "uniform"

    def __init__(self, width: int, n: int, generator: torch.Generator) -> None:
        super().__init__()
        self.logits = nn.Linear(width, n)
        orthogonal(self.logits, 0.01, generator)

    def log_probs(self, features: Tensor, temperature: Tensor | float | None = None) -> Tensor:
        """[N, n] in nats."""
        logits = self.logits(features)
        if temperature is not None:
            logits = logits / (temperature[:, None].to(logits) if isinstance(temperature, Tensor) else temperature)
        return logits.log_softmax(-1)

    def draw(self, features: Tensor, noise: Tensor | None, temperature: float | None) -> Drawn:
        lp = self.log_probs(features, temperature)
        if noise is None:
            action = lp.argmax(-1)
        else:
            below = lp.exp().cumsum(-1)  # a share of their own sum, so that rounding never takes a last action of probability 0
            action = (noise.to(lp) * below[:, -1:] > below).sum(-1)
        return Drawn(action, lp.gather(-1, action[:, None])[:, 0])

    def read(self, features: Tensor, action: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lp = self.log_probs(features, temperature)
        return lp.gather(-1, action[:, None])[:, 0], -(lp.exp() * lp).sum(-1)


# -- vectors of numbers


@dataclass(frozen=True)
class Gaussian:
    """Independent normal actions with a mean by the network and a spread of their own, cut to the box on the way to the world.

    Args:
        log_std: Initial log standard deviation, in the units of the actions.
    """

    log_std: float = 0.0

    def build(self, width: int, space: Space, generator: torch.Generator) -> GaussianHead:
        return GaussianHead(width, _box("Gaussian", space), self.log_std, generator)


class _Vector(ActionHead):
    """What heads over a box share: its bounds."""

    kind = "normal"
    low: Tensor
    high: Tensor

    def __init__(self, space: Box) -> None:
        super().__init__()
        self.noise, self.space = math.prod(space.shape), space
        low, high = space.bounds()
        self.register_buffer("low", low.flatten(), persistent=False)
        self.register_buffer("high", high.flatten(), persistent=False)


class GaussianHead(_Vector):
    """A linear mean and a standard deviation that no state moves. Actions are kept as drawn, with the density of the draw."""

    def __init__(self, width: int, space: Box, log_std: float, generator: torch.Generator) -> None:
        super().__init__(space)
        self.mean = nn.Linear(width, self.noise)
        orthogonal(self.mean, 0.01, generator)
        self.log_std = nn.Parameter(torch.full((self.noise,), float(log_std)))

    def draw(self, features: Tensor, noise: Tensor | None, temperature: float | None) -> Drawn:
        mean = self.mean(features)
        log_std: Tensor = self.log_std
        if temperature is not None:
            log_std = log_std + math.log(temperature)
        action = mean if noise is None else mean + log_std.exp() * noise.to(mean)
        return Drawn(action, _normal_logp(action, mean, log_std).sum(-1))

    def read(self, features: Tensor, action: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean = self.mean(features)
        log_std = self.log_std if temperature is None else self.log_std + temperature.log()[:, None].to(mean)
        logp = _normal_logp(action.flatten(1).to(mean), mean, log_std)
        return logp.sum(-1), (log_std + 0.5 * math.log(2 * math.pi * math.e)).expand_as(mean).sum(-1)

    def to_world(self, action: Tensor) -> Tensor:
        return action.clamp(self.low.to(action), self.high.to(action)).unflatten(-1, self.space.shape)

    def from_world(self, action: Tensor) -> Tensor:
        return action.flatten(-len(self.space.shape))


@dataclass(frozen=True)
class TanhGaussian:
    """Normal actions squashed into a bounded box by tanh, with mean and spread by the network (arXiv:1801.01290).

    Args:
        log_std: Smallest and largest log standard deviation, before squashing.
    """

    log_std: tuple[float, float] = (-20.0, 2.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_std", tuple(self.log_std))
        if not self.log_std[0] < self.log_std[-1]:
            raise PlanError(f"TanhGaussian: log_std is a smallest and a largest value, got {self.log_std}")

    def build(self, width: int, space: Space, generator: torch.Generator) -> TanhGaussianHead:
        box = _box("TanhGaussian", space)
        low, high = box.bounds()
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise PlanError("TanhGaussian: it squashes actions into a box, and this one has no bounds; take policies.Gaussian")
        return TanhGaussianHead(width, box, self.log_std, generator)


class TanhGaussianHead(_Vector):
    """Actions are kept before squashing, where nothing is lost to rounding; log-probs are densities after it, in [-1, 1]."""

    def __init__(self, width: int, space: Box, bounds: tuple[float, float], generator: torch.Generator) -> None:
        super().__init__(space)
        self.bounds = bounds
        self.mean, self.log_std = nn.Linear(width, self.noise), nn.Linear(width, self.noise)
        orthogonal(self.mean, 0.01, generator)
        orthogonal(self.log_std, 0.01, generator)

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """([N, A] means, [N, A] log standard deviations) before squashing."""
        return self.mean(features), self.log_std(features).clamp(*self.bounds)

    def draw(self, features: Tensor, noise: Tensor | None, temperature: float | None) -> Drawn:
        mean, log_std = self.moments(features)
        if temperature is not None:
            log_std = log_std + math.log(temperature)
        action = mean if noise is None else mean + log_std.exp() * noise.to(mean)
        return Drawn(action, self._logp(action, mean, log_std))

    def read(self, features: Tensor, action: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_std = self.moments(features)
        if temperature is not None:
            log_std = log_std + temperature.log()[:, None].to(mean)
        action = action.flatten(1).to(mean)
        # no closed form: that before squashing, and what squashing takes at this draw, moved with mean and spread
        noise = ((action - mean) * (-log_std).exp()).detach()
        entropy = log_std + 0.5 * math.log(2 * math.pi * math.e) + _log_slope(mean + log_std.exp() * noise)
        return self._logp(action, mean, log_std), entropy.sum(-1)

    def _logp(self, action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        return (_normal_logp(action, mean, log_std) - _log_slope(action)).sum(-1)

    def to_world(self, action: Tensor) -> Tensor:
        low, high = self.low.to(action), self.high.to(action)
        inside = low + (action.tanh() + 1) / 2 * (high - low)
        return inside.clamp(low, high).unflatten(-1, self.space.shape)  # rounding may lead out of the box

    def from_world(self, action: Tensor) -> Tensor:
        low, high = self.low.to(action), self.high.to(action)
        inside = 2 * (action.flatten(-len(self.space.shape)) - low) / (high - low) - 1
        edge = 1 - 1e-6  # an action on the bound itself would need an infinite draw
        return inside.clamp(-edge, edge).atanh()


def _log_slope(u: Tensor) -> Tensor:
    """``log(1 - tanh(u)^2)``, exact also where tanh is 1."""
    return 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))


def _normal_logp(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * ((x - mean) * (-log_std).exp()).square() - log_std - 0.5 * math.log(2 * math.pi)


def _box(name: str, space: Space) -> Box:
    if not isinstance(space, Box) or space.number == "uint8":
        raise PlanError(f"{name}: the actions are {space}; take policies.Categorical")
    if not space.shape:
        raise PlanError(f"{name}: actions without a dimension; give the box the shape (1,)")
    return space


class HeadSpec(Protocol):
    """What a plan names; it builds a head for features of a width."""

    def build(self, width: int, space: Space, generator: torch.Generator) -> ActionHead: ...
