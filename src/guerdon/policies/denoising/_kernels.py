"""How a prediction becomes a step: every sampler of the room is a Gaussian whose mean is linear in state, data and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from guerdon.core.errors import PlanError, nearest
from guerdon.policies.denoising._levels import Levels


class Step(NamedTuple):
    r"""One step of a kernel: $x_u \sim \mathcal{N}(c_x x_t + c_0 \hat{x}_0 + c_\epsilon \hat\epsilon,\ \mathrm{std}^2 I)$.

    Attributes:
        x: [N] float64 factor of the state.
        data: [N] factor of the predicted data.
        noise: [N] factor of the predicted noise.
        std: [N] standard deviation; 0: a plain map, which chooses nothing.
    """

    x: Tensor
    data: Tensor
    noise: Tensor
    std: Tensor


@runtime_checkable
class Kernel(Protocol):
    """A sampler: the step from one level to a less noisy one."""

    def step(self, here: Levels, there: Levels) -> Step: ...


def backward_variance(here: Levels, there: Levels) -> tuple[Tensor, Tensor]:
    r"""Of the noise that leads from ``there`` to ``here``, and of what is left of it when the data is known.

    $s_t^2 - r^2 s_u^2$ with $r = a_t / a_u$, and that times $s_u^2 / s_t^2$ (in DDPM's letters $\beta_t$ and $\tilde\beta_t$).
    """
    ratio = here.a / there.a
    forward = (here.s.square() - (ratio * there.s).square()).clamp(min=0)
    return forward, forward * there.s.square() / here.s.square()


@dataclass(frozen=True)
class DDIM:
    r"""$\mu = a_u \hat{x}_0 + \sqrt{s_u^2 - \sigma^2}\,\hat\epsilon$ with $\sigma = \eta$ times the posterior's deviation.

    1 is the posterior itself (DDPM with the smaller variance), 0 the probability-flow ODE; on a straight flow that is Euler's
    method. In the limit of many steps every value leaves the marginals of an exact model as they are.

    Args:
        eta: Share of the noise, in [0, 1].

    Example:
        >>> from guerdon.policies.denoising import Linear
        >>> levels = Linear(0.1, 0.3, 2).levels(2)
        >>> here, there = levels.at(torch.tensor([0])), levels.at(torch.tensor([1]))
        >>> step = DDIM().step(here, there)  # beta 0.3, products 0.63 and 0.9
        >>> bool((step.std.square() - 0.3 * (1 - 0.9) / (1 - 0.63)).abs() < 1e-12)
        True

    Source: DDIM (arXiv:2010.02502).
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise PlanError(f"DDIM: eta must be in [0, 1], got {self.eta}")

    def step(self, here: Levels, there: Levels) -> Step:
        """From level to level."""
        variance = self.eta**2 * backward_variance(here, there)[1]
        return Step(torch.zeros_like(here.a), there.a, (there.s.square() - variance).clamp(min=0).sqrt(), variance.sqrt())


@dataclass(frozen=True)
class DDPM:
    r"""The posterior's mean with either of the two fixed variances.

    Args:
        variance: ``"small"``, $\tilde\beta_t$ (best where the data is one point), or ``"large"``, $\beta_t$ (best where it is a
            standard normal). The step to the data has no noise with either.

    Example:
        >>> from guerdon.policies.denoising import Linear
        >>> levels = Linear(0.1, 0.3, 2).levels(2)
        >>> here, there = levels.at(torch.tensor([0])), levels.at(torch.tensor([1]))
        >>> round(float(DDPM("large").step(here, there).std) ** 2, 12)
        0.3

    Source: DDPM (arXiv:2006.11239).
    """

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise PlanError(f"DDPM: variance is {self.variance!r}; {nearest(self.variance, ('small', 'large'))}")

    def step(self, here: Levels, there: Levels) -> Step:
        """From level to level."""
        forward, posterior = backward_variance(here, there)
        x = here.a / there.a * there.s.square() / here.s.square()
        data = there.a * forward / here.s.square()
        used = torch.where(there.s > 0, forward, 0.0) if self.variance == "large" else posterior
        return Step(x, data, torch.zeros_like(x), used.sqrt())


@dataclass(frozen=True)
class FlowSDE:
    r"""The SDE with the marginals of a rectified flow, by Euler and Maruyama's method.

    With $v = \hat\epsilon - \hat{x}_0$, $\Delta = t - u$ and $\sigma_t = \mathrm{noise} \sqrt{t / (1 - t)}$ (at $t = 1$ with
    $1 - u$ below): $\mu = x_t - \left(v + \frac{\sigma_t^2}{2t} \left(x_t + (1 - t) v\right)\right) \Delta$ and
    $\mathrm{std} = \sigma_t \sqrt\Delta$. The last step is noisy too, so samples carry noise (0.05 in 16 steps): evaluate with
    ``deterministic=True``.

    Args:
        noise: Level of the noise; with ``constant`` $\sigma$ itself.
        constant: $\sigma_t = \mathrm{noise}$ at every time, as DanceGRPO has it.

    Example:
        >>> from guerdon.policies.denoising import Straight
        >>> levels = Straight().levels(2)
        >>> here, there = levels.at(torch.tensor([1])), levels.at(torch.tensor([2]))
        >>> round(float(FlowSDE(0.7).step(here, there).std), 6) == round(0.7 * 0.5 ** 0.5, 6)
        True

    Sources: Flow-GRPO (arXiv:2505.05470), DanceGRPO (arXiv:2505.07818).
    """

    noise: float = 0.7
    constant: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise PlanError(f"FlowSDE: noise must be at least 0, got {self.noise}")

    def step(self, here: Levels, there: Levels) -> Step:
        """From level to level; the schedule must be straight."""
        if not torch.allclose(here.a + here.s, torch.ones_like(here.a)):
            raise PlanError("FlowSDE steps along a straight flow, a + s = 1; a diffusion's schedule takes DDIM or DDPM")
        t, u = here.s, there.s
        left = torch.where(t < 1, 1 - t, 1 - u)
        sigma = torch.full_like(t, self.noise) if self.constant else self.noise * (t / left).sqrt()
        pull = sigma.square() / (2 * t)
        gap = t - u
        speed = (1 + pull * (1 - t)) * gap  # of v
        return Step(1 - pull * gap, speed, -speed, sigma * gap.sqrt())


@dataclass(frozen=True)
class CPS:
    r"""As much noise as there should be at every level: $\sigma = s_u \sin(\mathrm{noise}\,\pi / 2)$, $\mu$ as ``DDIM``.

    Samples carry no more noise than the level's own, so the last step is clean; it serves flows and diffusions alike.

    Args:
        noise: In [0, 1]; 0: the ODE, 1: all noise is new at every step.

    Example:
        >>> from guerdon.policies.denoising import Straight
        >>> levels = Straight().levels(2)
        >>> step = CPS(1.0).step(levels.at(torch.tensor([0])), levels.at(torch.tensor([1])))
        >>> float(step.std), float(step.noise)
        (0.5, 0.0)

    Source: coefficients-preserving sampling (arXiv:2509.05952).
    """

    noise: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise PlanError(f"CPS: noise must be in [0, 1], got {self.noise}")

    def step(self, here: Levels, there: Levels) -> Step:
        """From level to level."""
        share = math.sin(self.noise * math.pi / 2)
        return Step(torch.zeros_like(here.a), there.a, there.s * math.sqrt(1 - share**2), there.s * share)


@dataclass(frozen=True)
class Renoise:
    r"""To the predicted data and back up: $\mu = a_u \hat{x}_0$, $\mathrm{std} = s_u$. Multistep sampling of consistency models.

    Example:
        >>> from guerdon.policies.denoising import Straight
        >>> levels = Straight().levels(2)
        >>> step = Renoise().step(levels.at(torch.tensor([0])), levels.at(torch.tensor([1])))
        >>> float(step.data), float(step.std)
        (0.5, 0.5)

    Source: consistency models (arXiv:2303.01469).
    """

    def step(self, here: Levels, there: Levels) -> Step:
        """From level to level."""
        nothing = torch.zeros_like(here.a)
        return Step(nothing, there.a, nothing, there.s)
