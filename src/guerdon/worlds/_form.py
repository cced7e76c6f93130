"""The form of an environment's observations and actions, as plain data; and whether a value has it."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Form:
    """What one observation or action looks like.

    Args:
        n: How many there are, for numbered things; 0: an array.
        start: The first number, as the environment counts.
        shape: Of an array.
        dtype: Of an array, as the environment has it, such as ``"float64"``.
    """

    n: int = 0
    start: int = 0
    shape: tuple[int, ...] = ()
    dtype: str = "int64"

    @property
    def kept(self) -> str:
        """The dtype that leaves this room: float64 is kept as float32."""
        return "float32" if self.dtype == "float64" else self.dtype

    def wrong(self, value: Any) -> str:
        """Why a value is none of these; ``""`` where it is one.

        >>> Form(n=3).wrong(3), Form(shape=(2,), dtype="float32").wrong(np.zeros(3, dtype=np.float32))
        ('is 3, outside 0 .. 2', 'has the shape (3,), expected (2,)')
        """
        if self.n:
            try:
                number = operator.index(value)
            except TypeError:
                return f"is {_described(value)}, expected a whole number"
            inside = self.start <= number < self.start + self.n
            return "" if inside else f"is {number}, outside {self.start} .. {self.start + self.n - 1}"
        if not isinstance(value, np.ndarray):
            return f"is {_described(value)}, expected an array of {self.dtype}"
        if value.shape != self.shape:
            return f"has the shape {value.shape}, expected {self.shape}"
        return "" if value.dtype == self.dtype else f"has the dtype {value.dtype}, expected {self.dtype}"


def form_of(space: Any) -> Form | str:
    """The form of a Gymnasium space; why there is none for it."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return Form(n=int(space.n), start=int(space.start))
    if isinstance(space, spaces.Box):
        dtype = np.dtype(space.dtype)
        if dtype in (np.float32, np.float64, np.uint8):
            return Form(shape=tuple(space.shape), dtype=dtype.name)
        return f"a Box of {dtype}; a Box has to be of float32, float64 or uint8"
    return f"a {type(space).__name__} space; it has to be a Discrete or a Box (FlattenObservation makes one of many observations)"


def _described(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"of type {type(value).__name__}"
