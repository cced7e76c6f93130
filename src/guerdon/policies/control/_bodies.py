"""Bodies: the networks between what is observed and what is chosen. Each is a small spec that builds a module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from guerdon.core import PlanError

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}
Activation = Literal["tanh", "relu", "elu", "silu"]


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float, generator: torch.Generator) -> None:
    """Orthogonal weights and biases of 0, as PPO implementations have them (arXiv:2005.12729)."""
    with torch.no_grad():
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def _check(name: str, activation: str, sizes: tuple[int, ...]) -> None:
    if activation not in _ACTIVATIONS:
        raise PlanError(f"{name}: activation is {activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
    if any(s < 1 for s in sizes):
        raise PlanError(f"{name}: sizes must be at least 1, got {sizes}")


class Body(nn.Module):
    """[N, ...] inputs to [N, width] features; a recurrent one reads [B, T, ...] and carries a memory [B, H]."""

    width: int
    memory: int = 0  # H; 0: every step is read by itself


class _Stack(Body):
    def __init__(self, layers: nn.Sequential, width: int) -> None:
        super().__init__()
        self.layers, self.width = layers, width

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class MLP:
    """Fully connected layers; ``widths=()`` hands its flattened input on, so that a head on it is linear.

    Args:
        widths: Units of each layer.
        activation: After every layer.
    """

    widths: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        _check("MLP", self.activation, self.widths)

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> Body:
        sizes = [math.prod(shape), *self.widths]
        layers: list[nn.Module] = [nn.Flatten()] if len(shape) != 1 else []
        for before, after in pairwise(sizes):
            linear = nn.Linear(before, after)
            orthogonal(linear, math.sqrt(2), generator)
            layers += [linear, _ACTIVATIONS[self.activation]()]
        return _Stack(nn.Sequential(*layers), sizes[-1])


@dataclass(frozen=True)
class CNN:
    """Convolutions over pixels, then one fully connected layer; the defaults are those of DQN for 84 x 84.

    Args:
        channels: Filters of each convolution.
        kernels: Their sizes.
        strides: Their strides.
        width: Units of the last layer.
        activation: After every layer.

    Source: DQN (Mnih et al. 2015, Nature 518).
    """

    channels: tuple[int, ...] = (32, 64, 64)
    kernels: tuple[int, ...] = (8, 4, 3)
    strides: tuple[int, ...] = (4, 2, 1)
    width: int = 512
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        for name in ("channels", "kernels", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check("CNN", self.activation, (*self.channels, *self.kernels, *self.strides, self.width))
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise PlanError("CNN: channels, kernels and strides must be of one length")

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> Body:
        if len(shape) != 3:
            raise PlanError(f"CNN: it reads pictures, and an observation has shape {shape}; take policies.MLP")
        size, before = list(shape[1:]), shape[0]
        layers: list[nn.Module] = []
        for channels, kernel, stride in zip(self.channels, self.kernels, self.strides, strict=True):
            size = [(s - kernel) // stride + 1 for s in size]
            if min(size) < 1:
                raise PlanError(f"CNN: a picture of {shape[1]} x {shape[2]} is too small for kernels {self.kernels}")
            conv = nn.Conv2d(before, channels, kernel, stride)
            orthogonal(conv, math.sqrt(2), generator)
            layers += [conv, _ACTIVATIONS[self.activation]()]
            before = channels
        last = nn.Linear(before * size[0] * size[1], self.width)
        orthogonal(last, math.sqrt(2), generator)
        layers += [nn.Flatten(), last, _ACTIVATIONS[self.activation]()]
        return _Stack(nn.Sequential(*layers), self.width)


@dataclass(frozen=True)
class GRU:
    """A gated recurrent unit (arXiv:1406.1078) behind another body: for what one observation does not tell.

    Args:
        width: Units, which are also its memory.
        body: What reads each observation.
    """

    width: int = 64
    body: MLP | CNN = MLP((64,))

    def __post_init__(self) -> None:
        _check("GRU", "tanh", (self.width,))

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> Body:
        return _Recurrent(self.body.build(shape, generator), self.width, generator)


class _Recurrent(Body):
    def __init__(self, inner: Body, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner, self.width, self.memory = inner, width, width
        self.unit = nn.GRU(inner.width, width, batch_first=True)
        with torch.no_grad():
            for name, p in self.unit.named_parameters():
                if name.startswith("weight"):
                    nn.init.orthogonal_(p, 1.0, generator=generator)
                else:
                    p.zero_()

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """([B, T, width] features, [B, width] memory after the last step) of [B, T, ...] inputs."""
        features = self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        out, last = self.unit(features, memory[None].contiguous())
        return out, last[0]


BodySpec = MLP | CNN | GRU
