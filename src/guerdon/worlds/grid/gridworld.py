"""GridWorld: a map in text as a world, small enough that every quantity of it can be computed exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from guerdon.core.errors import PlanError, nearest
from guerdon.core.world import Box, Discrete, Space
from guerdon.worlds.grid.cell import Cell
from guerdon.worlds.grid.layouts import LAYOUTS, LEGEND
from guerdon.worlds.grid.picture import picture
from guerdon.worlds.grid.states import MOVES, Grid, State, mdp_of, reachable
from guerdon.worlds.mdp import MDP
from guerdon.worlds.tabular import TabularWorld, check_horizon

TILE_SHOWN = 32  # of a picture for people


@dataclass(frozen=True)
class GridWorld:
    """Move up, right, down or left (actions 0 to 3) over a map; ``.mdp`` is the same world for the exact solvers.

    Letters of the maps that come with guerdon: ``#`` wall, ``.`` floor, ``S`` start, ``G`` goal (+1, ends), ``L`` lava (-1,
    ends), ``K`` key, ``D`` door that needs it, ``o`` coin (+0.1, once), ``x`` rough road (-0.1), ``s`` to be driven around (-1).
    ``legend`` changes them or adds others.

    Args:
        layout: ``"corridor"``, ``"four-rooms"``, ``"key-door"``, ``"delivery"``, or the rows of a map of your own.
        legend: letter -> ``Cell``, beside and before the letters above.
        slip: Probability that a move goes to its left or right instead (half each).
        step_reward: Earned by every step, beside the reward of the cell it ends in.
        horizon: An episode is cut off after this many steps (None: never).
        stay: Offer a fifth action that does not move.
        pixels: Observe a picture [H * tile, W * tile, 3] uint8 instead of the number of the state.
        tile: Pixels per side of a cell in what is observed.

    Raises:
        PlanError: for a map that cannot be read, naming the row and the letter.

    Example:
        >>> grid = GridWorld(("S.", "#G"), step_reward=-0.1)
        >>> grid.observation, grid.mdp  # the wall is no state
        (Discrete(n=3), MDP(3 states, 4 actions))
        >>> world = grid.open(1)
        >>> _ = world.reset(torch.tensor([0]), torch.tensor([5]))
        >>> _ = world.step(torch.tensor([0]), torch.tensor([1]))  # right
        >>> world.step(torch.tensor([0]), torch.tensor([2])).reward.item()  # down, into the goal
        0.9
    """

    layout: str | tuple[str, ...] = "four-rooms"
    legend: Mapping[str, Cell] = field(default_factory=dict)
    slip: float = 0.0
    step_reward: float = 0.0
    horizon: int | None = 200
    stay: bool = False
    pixels: bool = False
    tile: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.layout, list):
            object.__setattr__(self, "layout", tuple(self.layout))
        if isinstance(self.layout, str) and self.layout not in LAYOUTS:
            raise PlanError(f"GridWorld: no layout {self.layout!r}; {nearest(self.layout, LAYOUTS)}, or give the rows of a map")
        if not 0 <= self.slip <= 1:
            raise PlanError(f"GridWorld: slip must be between 0 and 1, got {self.slip}")
        if not np.isfinite(self.step_reward):
            raise PlanError(f"GridWorld: step_reward must be finite, got {self.step_reward}")
        if self.tile < 2:
            raise PlanError(f"GridWorld: tile must be at least 2 pixels, got {self.tile}")
        for letter, cell in self.legend.items():
            if len(letter) != 1 or not isinstance(cell, Cell):
                raise PlanError(f"GridWorld: the legend must map single letters to Cells, got {letter!r}: {cell!r}")
        check_horizon("GridWorld", self.horizon)
        _ = self.grid  # says now what is wrong with the map

    def __hash__(self) -> int:
        return hash((self.layout, tuple(sorted(self.legend.items(), key=lambda i: i[0])), *self._numbers))

    @property
    def _numbers(self) -> tuple[Any, ...]:
        return self.slip, self.step_reward, self.horizon, self.stay, self.pixels, self.tile

    @cached_property
    def grid(self) -> Grid:
        """The map."""
        return Grid(LAYOUTS[self.layout] if isinstance(self.layout, str) else self.layout, {**LEGEND, **self.legend})

    @property
    def moves(self) -> tuple[tuple[int, int], ...]:
        """(rows down, columns right) of every action."""
        return MOVES if self.stay else MOVES[:4]

    @cached_property
    def states(self) -> tuple[State, ...]:
        """((row, column), places already taken) of every state, in the order of their numbers."""
        return tuple(reachable(self.grid, self.moves))

    @cached_property
    def mdp(self) -> MDP:
        return mdp_of(self.grid, self.states, self.moves, self.slip, self.step_reward)

    @property
    def observation(self) -> Space:
        if not self.pixels:
            return Discrete(len(self.states))
        return Box((len(self.grid.rows) * self.tile, len(self.grid.rows[0]) * self.tile, 3), 0.0, 255.0, "uint8")

    @property
    def action(self) -> Discrete:
        return Discrete(len(self.moves))

    def open(self, n: int) -> TabularWorld:
        return TabularWorld(self.mdp, n, self.horizon, self._pictures if self.pixels else None, self.draw)

    @cached_property
    def _pictures(self) -> torch.Tensor:
        return torch.from_numpy(np.stack([picture(self.grid, state, self.tile) for state in self.states]))

    def draw(self, state: int, tile: int = TILE_SHOWN) -> np.ndarray:
        """[H * tile, W * tile, 3] uint8 picture of a state by its number."""
        return picture(self.grid, self.states[state], tile)
