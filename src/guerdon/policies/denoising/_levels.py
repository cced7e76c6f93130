"""How much of the data and how much noise there is at each level of a chain, from noise (level 0) to data (the last one)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from guerdon.core.errors import PlanError, nearest

Spacing = Literal["trailing", "leading", "linspace"]
_MANY = 1000  # levels on which continuous time is trained


@dataclass(frozen=True)
class Levels:
    r"""The stops of a chain: $x_k = a_k x_0 + s_k \epsilon$ for $k = 0$ (noise) to $S$ (data).

    Args:
        time: [S+1] what the network is told, from 1 to 0.
        a: [S+1] share of the data, rising.
        s: [S+1] standard deviation of the noise, falling.
    """

    time: Tensor
    a: Tensor
    s: Tensor

    @property
    def steps(self) -> int:
        """S."""
        return len(self.time) - 1

    def at(self, level: Tensor) -> Levels:
        """[N] levels by their numbers."""
        level = level.cpu()
        return Levels(self.time[level], self.a[level], self.s[level])


@runtime_checkable
class Noise(Protocol):
    """A noise schedule: which levels a chain of so many steps stops at. ``finest`` steps are what a network is trained on."""

    @property
    def finest(self) -> int: ...
    def levels(self, steps: int) -> Levels: ...


def check_steps(noise: Noise, steps: int) -> int:
    """``steps``, where the schedule has as many.

    Raises:
        PlanError: where it has not.
    """
    if not 1 <= steps <= noise.finest:
        raise PlanError(f"{type(noise).__name__} has 1 to {noise.finest} steps, got steps={steps}")
    return steps


def _chosen(train_steps: int, steps: int, spacing: Spacing) -> Tensor:
    """[steps] falling timesteps, 0 to train_steps - 1, as the common schedulers space them."""
    if spacing == "trailing":
        found = torch.linspace(train_steps, 0, steps + 1, dtype=torch.double)[:-1].round().long() - 1
    elif spacing == "leading":
        found = (torch.arange(steps) * (train_steps // steps)).flip(0)
    else:
        found = torch.linspace(train_steps - 1, 0, steps, dtype=torch.double).round().long()
    return found


def _discrete(bar: Tensor, steps: int, spacing: Spacing, final: float = 1.0) -> Levels:
    """Levels of a variance-preserving chain with cumulated products ``bar`` [N], ending in a level of product ``final``."""
    kept = torch.cat([bar[_chosen(len(bar), steps, spacing)], torch.tensor([final], dtype=torch.double)])
    told = torch.cat([_chosen(len(bar), steps, spacing) + 1, torch.zeros(1, dtype=torch.long)]).double() / len(bar)
    return Levels(told, kept.sqrt(), (1 - kept).sqrt())


@dataclass(frozen=True)
class Linear:
    r"""Variances $\beta_t$ on a straight line; $\bar\alpha_t = \prod_{i \le t} (1 - \beta_i)$, $a = \sqrt{\bar\alpha}$.

    Args:
        start: $\beta$ of the first (least noisy) timestep.
        end: $\beta$ of the last.
        train_steps: Timesteps the network is trained on.
        spacing: Which of them a shorter chain stops at: ``"trailing"`` (from the last), ``"leading"`` (multiples, the peers'
            older default) or ``"linspace"``.

    Example:
        >>> Linear(0.1, 0.3, 2).levels(2).a.square()
        tensor([0.6300, 0.9000, 1.0000], dtype=torch.float64)

    Sources: DDPM (arXiv:2006.11239), trailing timesteps (arXiv:2305.08891).
    """

    start: float = 1e-4
    end: float = 0.02
    train_steps: int = 1000
    spacing: Spacing = "trailing"

    def __post_init__(self) -> None:
        _check(self.train_steps, self.spacing, "Linear")
        if not 0 < self.start <= self.end < 1:
            raise PlanError(f"Linear: expected 0 < start <= end < 1, got start={self.start} and end={self.end}")

    @property
    def finest(self) -> int:
        """Steps of the longest chain."""
        return self.train_steps

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops."""
        beta = torch.linspace(self.start, self.end, self.train_steps, dtype=torch.double)
        return _discrete((1 - beta).cumprod(0), check_steps(self, steps), self.spacing)


@dataclass(frozen=True)
class Cosine:
    r"""$\bar\alpha$ along a squared cosine: the data fades evenly, which suits small pictures.

    $\bar\alpha_t \propto \cos^2\left(\frac{t/N + c}{1 + c} \frac{\pi}{2}\right)$, with every $\beta_t$ at most ``largest``.

    Args:
        train_steps: $N$, timesteps the network is trained on.
        offset: $c$.
        largest: Bound on $\beta_t$, which keeps the noisiest level from losing all of the data.
        spacing: As for ``Linear``.

    Example:
        >>> levels = Cosine(100).levels(4)
        >>> levels.steps, bool((levels.a.diff() > 0).all()), levels.time.tolist()
        (4, True, [1.0, 0.75, 0.5, 0.25, 0.0])

    Source: arXiv:2102.09672.
    """

    train_steps: int = 1000
    offset: float = 0.008
    largest: float = 0.999
    spacing: Spacing = "trailing"

    def __post_init__(self) -> None:
        _check(self.train_steps, self.spacing, "Cosine")
        if not (self.offset >= 0 and 0 < self.largest < 1):
            raise PlanError(f"Cosine: expected offset >= 0 and 0 < largest < 1, got {self.offset} and {self.largest}")

    @property
    def finest(self) -> int:
        """Steps of the longest chain."""
        return self.train_steps

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops."""
        place = torch.arange(self.train_steps + 1, dtype=torch.double) / self.train_steps
        bar = ((place + self.offset) / (1 + self.offset) * math.pi / 2).cos().square()
        beta = (1 - bar[1:] / bar[:-1]).clamp(max=self.largest)
        return _discrete((1 - beta).cumprod(0), check_steps(self, steps), self.spacing)


@dataclass(frozen=True)
class Straight:
    r"""Rectified flow: $x_t = (1 - t) x_0 + t \epsilon$ on an even grid of $t$, moved towards noise by ``shift``.

    Args:
        shift: $t \leftarrow \mathrm{shift}\, t / (1 + (\mathrm{shift} - 1)\, t)$; above 1, more steps where it is noisy.

    Example:
        >>> Straight(shift=3.0).levels(2).time.tolist()
        [1.0, 0.75, 0.0]

    Sources: rectified flow (arXiv:2209.03003), shifted times (arXiv:2403.03206).
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift > 0):
            raise PlanError(f"Straight: shift must be above 0, got {self.shift}")

    @property
    def finest(self) -> int:
        """Steps of the grid that a network is trained on."""
        return _MANY

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops."""
        t = torch.linspace(1, 0, check_steps(self, steps) + 1, dtype=torch.double)
        t = self.shift * t / (1 + (self.shift - 1) * t)
        return Levels(t, 1 - t, t)


def _check(train_steps: int, spacing: str, name: str) -> None:
    if train_steps < 1:
        raise PlanError(f"{name}: train_steps must be at least 1, got {train_steps}")
    if spacing not in get_args(Spacing):
        raise PlanError(f"{name}: spacing is {spacing!r}; {nearest(spacing, get_args(Spacing))}")
