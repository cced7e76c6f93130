"""What every denoiser offers, and how it reads the time."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, ModelError
from guerdon.policies.denoising._conditions import Condition
from guerdon.policies.denoising._initial import initialise


class Denoiser(nn.Module):
    """A prediction for noisy states, and the features it is made from.

    ``width`` is the size of a row's features. Rows do not see each other, and a new network predicts 0.
    """

    width: int

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """[N, *shape] prediction: the noise, the data or the velocity, as the policy reads it.

        Args:
            x: [N, *shape] noisy states.
            time: [N] from 1 (noise) to 0 (data).
            condition: What the rows are told.
        """
        raise NotImplementedError

    def features(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """[N, width] pooled features of the middle of the network."""
        raise NotImplementedError


class NetworkSpec(Protocol):
    """A frozen spec that builds a denoiser."""

    def build(self, shape: tuple[int, ...], embedding: int, channels: int, generator: torch.Generator) -> Denoiser:
        """A new network.

        Args:
            shape: Of one state.
            embedding: Width of the condition's vector; 0: there is none.
            channels: Of the condition's picture; 0: there is none.
            generator: Of the initial weights.

        Raises:
            PlanError: where it cannot read such states.
        """
        ...


def picture_of(condition: Condition, x: Tensor) -> Tensor:
    """The picture that a network reads beside states ``x`` [N, ..., H, W], in their number format.

    Raises:
        ModelError: where there is none.
        DataError: where it has another size.
    """
    if condition.picture is None:
        raise ModelError("this network was built to read a picture beside the state and is given none")
    if condition.picture.shape[-2:] != x.shape[-2:]:
        sizes = [" x ".join(map(str, part.shape[-2:])) for part in (condition.picture, x)]
        raise DataError(f"the picture beside the state has {sizes[0]} pixels and the state {sizes[1]}")
    return condition.picture.to(x)


def sinusoids(time: Tensor, waves: int) -> Tensor:
    r"""[N, 2 waves] float64 $\sin(1000 \omega_k t)$, then the cosines, with $\omega_k = 10000^{-k / \mathrm{waves}}$.

    As in Transformers (arXiv:1706.03762), at 1000 times the time, as DDPM counts its steps. In float64: whole turns are
    hundreds of radians, and neighbouring steps differ little.

    >>> sinusoids(torch.tensor([0.001], dtype=torch.float64), 2)  # angles 1 and 0.01
    tensor([[0.8415, 0.0100, 0.5403, 1.0000]], dtype=torch.float64)
    """
    rate = torch.exp(-math.log(10_000) / waves * torch.arange(waves, dtype=torch.float64, device=time.device))
    angle = 1000 * time.double()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


class Signal(nn.Module):
    """Time and the condition's vector as one vector for every block: [N, width]."""

    width: int
    waves: int

    def __init__(self, width: int, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.width, self.waves = width, max(2, width // 4)
        self.first = initialise(lambda: nn.Linear(2 * self.waves, width), generator)
        self.second = initialise(lambda: nn.Linear(width, width), generator)
        self.told = initialise(lambda: nn.Linear(embedding, width), generator) if embedding else None

    def forward(self, time: Tensor, condition: Condition) -> Tensor:
        weight = self.first.weight
        out = self.second(nn.functional.silu(self.first(sinusoids(time, self.waves).to(weight))))
        if self.told is not None:
            if condition.embedding is None:
                raise ModelError("this network was built with a condition and is given none")
            out = out + self.told(condition.embedding.to(weight))
        return nn.functional.silu(out)
