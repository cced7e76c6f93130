"""Counting: a world whose every observation, reward and ending can be said by hand, and that breaks where it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.core.world import Box, Discrete, Space, Stepped

FAULTS = ("", "reset", "reset raises", "reset nan", "step", "step raises", "nan", "reward", "shape", "dtype", "open")


@dataclass(frozen=True)
class Counting:
    """Observations are (seed mod 8, steps so far); step t pays ``10 * (seed mod 8) + t``, and half more for action 1.

    An episode ends after ``lengths[seed mod len(lengths)]`` steps: by itself if ``seed // 8`` is even, cut off if it is odd.

    Args:
        lengths: Of episodes.
        numbers: An action is so many numbers between -1 and 1, of which the first is paid for (0: it is one of two).
        fault: What goes wrong, one of ``FAULTS``: at the reset, or at the second step of a bad episode.
        bad: An episode is bad where ``bad`` divides its seed.
        saves: Whether states can be saved.

    Example:
        >>> world = Counting().open(1)
        >>> _ = world.reset(torch.tensor([0]), torch.tensor([3]))
        >>> world.step(torch.tensor([0]), torch.tensor([0])).reward.item()
        31.0
    """

    observation: ClassVar[Box] = Box((2,))

    lengths: tuple[int, ...] = (3, 1, 4, 2, 7)
    numbers: int = 0
    fault: str = ""
    bad: int = 2
    saves: bool = True
    log: list[tuple[int, int]] = field(default_factory=list, compare=False, repr=False)  # (slot, seed) of every reset

    @property
    def action(self) -> Space:
        return Box((self.numbers,), -1.0, 1.0) if self.numbers else Discrete(2)

    def open(self, n: int) -> CountingWorld:
        if self.fault == "open":
            raise OSError("no such device\nat all")
        return CountingWorld(self, n)


class CountingWorld:
    """An open ``Counting``."""

    def __init__(self, spec: Counting, n: int) -> None:
        self.spec, self.n = spec, n
        self.seed, self.t = torch.zeros(n, dtype=torch.long), torch.full((n,), -1)

    def reset(self, slots: Tensor, seeds: Tensor) -> tuple[Tensor, Sequence[str]]:
        fault = self.spec.fault
        self.spec.log.extend(zip(slots.tolist(), seeds.tolist(), strict=True))
        bad = seeds % self.spec.bad == 0
        if fault == "reset raises" and bool(bad.any()):
            raise KeyError("lost\nfor good")
        self.seed[slots], self.t[slots] = seeds, 0
        shown = self._shown(slots)
        if fault == "reset nan":
            shown[bad] = float("nan")
        return shown, ["no more tickets" if fault == "reset" and b else "" for b in bad.tolist()]

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        self.t[slots] += 1
        seed, t, fault = self.seed[slots], self.t[slots], self.spec.fault
        bad = (seed % self.spec.bad == 0) & (t == 2)
        if fault == "step raises" and bool(bad.any()):
            raise ValueError("wheels came off\nlong story")
        reward = 10.0 * (seed % 8) + t + 0.5 * actions.reshape(len(slots), -1)[:, 0]
        over = t >= torch.tensor(self.spec.lengths)[seed % len(self.spec.lengths)]
        shown, reward = self._shown(slots), reward.double()
        if fault == "nan":
            shown[bad] = float("nan")
        if fault == "reward":
            reward[bad] = float("inf")
        if bool(bad.any()) and fault in ("shape", "dtype"):
            shown = shown.double() if fault == "dtype" else shown[:, :1]
        failed = ["wheels came off" if fault == "step" and b else "" for b in bad.tolist()]
        return Stepped(shown, reward, over & (seed // 8 % 2 == 0), over & (seed // 8 % 2 == 1), failed)

    def _shown(self, slots: Tensor) -> Tensor:
        return torch.stack([self.seed[slots] % 8, self.t[slots]], -1).float()

    def render(self, slot: int) -> None:
        """There is nothing to see."""

    def snapshot(self, slots: Tensor) -> Sequence[Mapping[str, Any]] | None:
        if not self.spec.saves:
            return None
        return [{"seed": int(self.seed[k]), "t": int(self.t[k])} for k in slots.tolist()]

    def restore(self, slots: Tensor, states: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        for k, state in zip(slots.tolist(), states, strict=True):
            self.seed[k], self.t[k] = state["seed"], state["t"]
        return [""] * len(slots)

    def close(self) -> None:
        """Nothing is held."""
