"""What a network's output stands for: noise, data or velocity; and how the other two follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Predict = Literal["noise", "data", "velocity", "flow"]
_Read = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _noise(said: Tensor, x: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return (x - s * said) / a, said


def _data(said: Tensor, x: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return said, (x - a * said) / s


def _velocity(said: Tensor, x: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return a * x - s * said, s * x + a * said


def _flow(said: Tensor, x: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return x - s * said, x + a * said


# (output, x_t, a, s) -> (x_0, noise)
READ: dict[Predict, _Read] = {"noise": _noise, "data": _data, "velocity": _velocity, "flow": _flow}
# (x_0, noise, a, s) -> output
TARGET: dict[Predict, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "noise": lambda data, noise, a, s: noise,
    "data": lambda data, noise, a, s: data,
    "velocity": lambda data, noise, a, s: a * noise - s * data,  # a^2 + s^2 = 1 (arXiv:2202.00512)
    "flow": lambda data, noise, a, s: noise - data,  # a + s = 1
}
