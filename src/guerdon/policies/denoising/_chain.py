"""Gaussian chains: the one core of diffusion, flow and consistency models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from guerdon.core import PlanError, Streams, nearest
from guerdon.policies.denoising._asked import Asked
from guerdon.policies.denoising._base import Denoising
from guerdon.policies.denoising._gaussian import GaussianStep, normal
from guerdon.policies.denoising._how import How
from guerdon.policies.denoising._kernels import Kernel, backward_variance
from guerdon.policies.denoising._levels import Levels, Noise
from guerdon.policies.denoising._predictions import READ, TARGET, Predict


class GaussianDenoising(Denoising):
    """Steps between the levels of a noise schedule, each a Gaussian around what the network foresees.

    Args:
        shape: Of a state, without the row.
        network: ``forward(x, time, condition)``, ``features(...)`` and ``width``.
        condition: Contexts to a ``Condition``; None: the model is unconditional.
        noise: The schedule.
        predict: What the network's output stands for.
        kernel: The sampler, unless a call asks for another.
        steps: Of a chain, unless a call asks for another number.
        guidance: Weight of the condition against none.
        clip: Foreseen data is kept in [-clip, clip], as some peers do; None: not.
        spec: What ``of`` was given, so that the policy can be saved.
    """

    predictions: ClassVar[tuple[Predict, ...]] = ()

    def __init__(
        self, shape: Sequence[int], network: nn.Module, condition: nn.Module | None, *, noise: Noise, predict: Predict,
        kernel: Kernel, steps: int, guidance: float = 1.0, clip: float | None = None, spec: tuple[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        if predict not in self.predictions:
            raise PlanError(f"{type(self).__name__}: predict is {predict!r}; {nearest(str(predict), self.predictions)}")
        if not isinstance(noise, Noise):
            raise PlanError(f"{type(self).__name__}: noise is {noise!r}; expected a schedule such as policies.Cosine()")
        if clip is not None and not clip > 0:
            raise PlanError(f"{type(self).__name__}: clip must be above 0, got {clip}")
        super().__init__(shape, network, condition, How(steps, kernel, guidance))
        self.schedule, self.predict, self.clip, self.spec = noise, predict, clip, spec
        self._levels: dict[int, Levels] = {}
        self.levels(steps)

    @classmethod
    def _built(
        cls, shape: Sequence[int], network: Any, condition: Any, seed: int, dtype: Literal["float32", "float64"], **parts: Any
    ) -> Self:
        """From specs, with initial weights by ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        asked = None if condition is None else condition.build(generator)
        width, channels = (0, 0) if asked is None else (asked.width, asked.channels)
        made = network.build(tuple(shape), width, channels, generator)
        policy = cls(shape, made, asked, spec=(network, condition), **parts)
        return policy.to(getattr(torch, dtype))

    @property
    def finest(self) -> int:
        """Levels that the network is trained on."""
        return self.schedule.finest

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops."""
        if steps not in self._levels:
            self._levels[steps] = self.schedule.levels(steps)
        return self._levels[steps]

    def times(self, steps: int) -> Tensor:
        """[steps + 1] float64 what the network is told at each level of a chain."""
        return self.levels(steps).time

    def noise(self, contexts: Sequence[Any], streams: Streams, uid: Tensor) -> Tensor:
        """[N, *shape] standard normal, whatever the first level keeps of the data."""
        out = torch.empty(len(uid), *self.shape, dtype=self.dtype, device=self.device)
        return out.copy_(normal(streams("start", uid), self.shape, dtype=self.dtype))

    def noised(self, contexts: Sequence[Any], data: Tensor, level: Tensor, how: How, streams: Streams, uid: Tensor) -> Tensor:
        """[N, *shape] given data at levels [N], with noise of the rows' own."""
        here = self.levels(how.steps).at(level)
        noise = normal(streams("start", uid), self.shape, dtype=data.dtype).to(data)
        return _wide(here.a, data) * data + _wide(here.s, data) * noise

    def foreseen(self, state: Tensor, here: Levels, asked: Asked, guidance: float) -> tuple[Tensor, Tensor]:
        """([N, *shape] data, [N, *shape] noise) that the network sees in the rows."""
        said = self.predicted(state, here.time, asked, guidance)
        data, noise = READ[self.predict](said, state, _wide(here.a, state), _wide(here.s, state))
        return (data if self.clip is None else data.clamp(-self.clip, self.clip)), noise

    def proposal(self, state: Tensor, level: Tensor, asked: Asked, how: How) -> GaussianStep:
        """Where rows [N, *shape] at levels [N] may go."""
        levels = self.levels(how.steps)
        here, there = levels.at(level), levels.at(level + 1)
        data, noise = self.foreseen(state, here, asked, how.guidance)
        step = how.kernel_at(level).step(here, there)
        mean = _wide(step.data, state) * data
        if bool(step.noise.any()):
            mean = mean + _wide(step.noise, state) * noise
        if bool(step.x.any()):
            mean = mean + _wide(step.x, state) * state
        return GaussianStep(mean, step.std, data, self.dims)

    def bound(self, state: Tensor, data: Tensor, level: Tensor, asked: Asked, how: How, weight: str) -> Tensor:
        r"""[N] float64: the denoising bound's term of going from ``state`` at ``level`` to the data.

        ``"elbo"``: $-\mathrm{KL}\left(q(x_u \mid x_t, x_0) \,\|\, p_\theta(x_u \mid x_t)\right)$, both with the posterior's
        variance; at the last level $\log \mathcal{N}(x_0; \hat{x}_0, \beta I)$ up to its constant. ``"simple"``:
        $-\frac{1}{2} \lVert F - F_\theta \rVert^2$ of what the network predicts.
        """
        levels = self.levels(how.steps)
        here, there = levels.at(level), levels.at(level + 1)
        a, s = _wide(here.a, state), _wide(here.s, state)
        said = self.predicted(state, here.time, asked, how.guidance)
        noise = (state - a * data) / s
        if weight == "simple":
            gap = said - TARGET[self.predict](data, noise, a, s)
            return -0.5 * gap.flatten(1).square().sum(1, dtype=torch.double)
        seen = READ[self.predict](said, state, a, s)[0]
        forward, posterior = backward_variance(here, there)
        # the means differ by this share of the foreseen data's error; into the data itself there is no posterior variance left
        share = torch.where(posterior > 0, there.a * forward / here.s.square(), 1.0)
        variance = torch.where(posterior > 0, posterior, forward)
        error = (seen - data).flatten(1).square().sum(1, dtype=torch.double)
        return -0.5 * (share.square() / variance).to(error.device) * error


def _wide(x: Tensor, like: Tensor) -> Tensor:
    """[N] float64 numbers of levels, to be multiplied with rows ``like`` [N, ...]."""
    return x.to(like.device, like.dtype).reshape(-1, *[1] * (like.dim() - 1))
