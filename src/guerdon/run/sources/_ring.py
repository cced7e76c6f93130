"""A ring of observations and the transitions between them: what a replay memory is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Ring:
    """Rows of one shape under consecutive numbers; the oldest give way to the newest.

    Args:
        size: How many are kept.
        like: [..., *shape] what a row looks like.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        self.rows = torch.zeros(size, *like.shape[1:], dtype=like.dtype)  # the system gives memory when it is written to
        self.end = 0

    @property
    def begin(self) -> int:
        """Number of the oldest row that is still there."""
        return max(0, self.end - len(self.rows))

    def add(self, rows: Tensor) -> Tensor:
        """[k] numbers of the k rows, after they were stored."""
        number = torch.arange(self.end, self.end + len(rows))
        kept = slice(max(0, len(rows) - len(self.rows)), None)
        self.rows[number[kept] % len(self.rows)] = rows[kept]
        self.end += len(rows)
        return number

    def __getitem__(self, number: Tensor) -> Tensor:
        return self.rows[number % len(self.rows)]

    def resize(self, size: int, oldest: int) -> None:
        """Room for ``size`` rows; those before number ``oldest`` are given up."""
        number = torch.arange(max(self.begin, oldest), self.end)
        rows = self[number]
        self.rows = torch.zeros(size, *self.rows.shape[1:], dtype=self.rows.dtype)
        self.rows[number % size] = rows

    def state_dict(self, oldest: int | None = None) -> dict[str, Any]:
        """The rows from ``oldest`` on, in order of their numbers."""
        number = torch.arange(max(self.begin, self.begin if oldest is None else oldest), self.end)
        return {"size": len(self.rows), "end": self.end, "rows": self[number].clone()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Ring:
        """What ``state_dict`` described."""
        ring, rows = cls(int(state["size"]), state["rows"]), state["rows"]
        ring.end = int(state["end"])
        ring.rows[torch.arange(ring.end - len(rows), ring.end) % len(ring.rows)] = rows
        return ring
