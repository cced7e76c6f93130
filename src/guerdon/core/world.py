"""World: what a policy acts in. Environments, tools and learned dynamics are stepped through the same few calls.

A spec (a frozen dataclass, so that a plan can name it) says what the world looks like and opens it; an open world has
``n`` slots, each in one episode, that are reset and stepped in any subset. Nothing in a world draws random numbers of its
own: every episode begins from a seed that its caller gives, so what happens does not depend on slots, workers or order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Discrete:
    """One of ``n`` numbered things, 0 .. n-1; int64."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self) -> torch.dtype:
        return torch.long


@dataclass(frozen=True)
class Box:
    """Arrays of one shape. Bounds are numbers, or one per entry in row-major order; they may be infinite.

    Args:
        shape: Of one observation or action.
        low: Lower bound(s).
        high: Upper bound(s).
        number: ``"float32"``, ``"float64"`` or ``"uint8"`` (pixels, [H, W, C]).
    """

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -np.inf
    high: float | tuple[float, ...] = np.inf
    number: str = "float32"

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.number)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bound, each of ``shape``, in float64."""
        low, high = (torch.as_tensor(b, dtype=torch.float64).expand(self.shape) if np.ndim(b) == 0 else
                     torch.tensor(b, dtype=torch.float64).reshape(self.shape) for b in (self.low, self.high))  # fmt: skip
        return low, high


Space = Discrete | Box


@dataclass(frozen=True)
class Stepped:
    """What k stepped slots answered.

    Args:
        observation: [k, ...] the state each slot is in now, also where its episode has just ended.
        reward: [k] float64.
        terminated: [k] bool, the episode ended by itself: nothing comes after it.
        truncated: [k] bool, the episode was cut off (a time limit): more would have come.
        failed: [k] why a slot broke, ``""`` where it did not. A broken slot has to be reset; its reward is 0 and means nothing.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    failed: Sequence[str]


@runtime_checkable
class World(Protocol):
    """An open world with ``n`` slots. Calls name the slots they are for, [k] int64, without repeats."""

    n: int

    def reset(self, slots: Tensor, seeds: Tensor) -> tuple[Tensor, Sequence[str]]:
        """Begin an episode in each slot from its seed ([k] int64, any); ([k, ...] observations, [k] why not or ``""``)."""
        ...

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        """One step of each slot; actions [k, ...] are within the action space."""
        ...

    def render(self, slot: int) -> np.ndarray | None:
        """[H, W, 3] uint8 picture of a slot, None where the world has none."""
        ...

    def snapshot(self, slots: Tensor) -> Sequence[Mapping[str, Any]] | None:
        """[k] what ``restore`` needs to put each slot back, as plain data and tensors; None where that cannot be had."""
        ...

    def restore(self, slots: Tensor, states: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Put slots (of this or another open world of the same spec) into saved states; [k] why not, or ``""``.

        A snapshot restored into several slots is a fork.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class WorldSpec(Protocol):
    """What a plan names; opening it may be slow and may fail with a ``RunError`` of one line."""

    @property
    def observation(self) -> Space: ...
    @property
    def action(self) -> Space: ...
    def open(self, n: int) -> World: ...


@dataclass(frozen=True)
class Spaces:
    """What a policy has to know of a world that is not at hand: what is observed, and what can be done."""

    observation: Space
    action: Space


@dataclass(frozen=True)
class Start:
    """A context: begin an episode of ``world`` from ``seed``. Samples of one Start begin in the same state."""

    world: WorldSpec
    seed: int

    def __str__(self) -> str:
        return f"{self.world} from {self.seed}"


@dataclass(frozen=True)
class Slot:
    """A context: go on in slot ``index`` of an open world, where the last fragment stopped.

    Args:
        world: The open world's spec.
        index: Which slot.
        live: Who keeps the slot's episode between fragments. It does not travel: a copy or a pickle of a slot has None there.
    """

    world: WorldSpec
    index: int
    live: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.world} slot {self.index}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, (self.world, self.index)


@dataclass(frozen=True, eq=False)
class Episode:
    """One trajectory of a world, whole or a segment: what a demonstration or a preferred segment is, and a rollout's output.

    Args:
        observations: [T+1, ...] the state before each action, and the last one.
        actions: [T, ...] as the world got them.
        rewards: [T]; None where unknown.
        terminated: Ended by itself (True), or cut off (False).

    Example:
        >>> Episode(torch.zeros(3, 4), torch.tensor([0, 1]), torch.ones(2))
        Episode(2 steps, return 2, cut off)
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor | None = None
    terminated: bool = False

    def __post_init__(self) -> None:
        if len(self.observations) != len(self.actions) + 1:
            raise ValueError(
                f"an episode of {len(self.actions)} actions needs one observation more, got {len(self.observations)}"
            )
        if self.rewards is not None and len(self.rewards) != len(self.actions):
            raise ValueError(f"an episode of {len(self.actions)} actions has {len(self.rewards)} rewards")

    def __len__(self) -> int:
        return len(self.actions)

    def __repr__(self) -> str:
        gain = "" if self.rewards is None else f", return {float(self.rewards.sum()):.4g}"
        return f"Episode({len(self)} steps{gain}, {'ended' if self.terminated else 'cut off'})"
