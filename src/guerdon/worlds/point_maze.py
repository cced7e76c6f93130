"""PointMaze: a point in the plane among walls that are written as rows of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from guerdon.core.errors import PlanError, nearest
from guerdon.core.world import Box
from guerdon.worlds._maze_grid import Grid, grid_of
from guerdon.worlds._maze_layouts import LAYOUTS
from guerdon.worlds._maze_world import OpenMaze

_REWARDS = ("sparse", "straight", "path")


@dataclass(frozen=True)
class PointMaze:
    r"""A point that is pushed about among walls until it is at a goal.

    A cell of the layout is a square of side 1; x grows to the right and y downwards, as the rows are read. An action is a push
    $a \in [-1, 1]^2$ (larger ones saturate), and with velocity $v$, inertia $i$ and ``speed`` $s$ a step is
    $v \leftarrow i\,v + (1 - i)\,s\,a$ and $x \leftarrow x + v$. At a wall the point loses the velocity into it and slides along.

    | character | cell |
    |---|---|
    | `.` | free |
    | `#` | a wall, as is everything outside |
    | `X` | an obstacle: touching it ends the episode |
    | `S` | where episodes start; without any, in all free cells that are no goal |
    | `G`, `1` .. `9` | goals: the cells with the same character are one goal |

    An observation is (x, y), then the velocity where there is inertia, then the middle of the goal where it is drawn. Positions
    are counted from the middle of the maze, in units of half its longer side, velocities in units of ``speed``: all in [-1, 1].

    Args:
        layout: ``"u"``, ``"open"``, ``"medium"``, ``"large"``, ``"two-routes"``, ``"avoiding"``, ``"deceptive"``,
            ``"two-goals"`` or ``"hard"``; or the rows.
        reward: ``"sparse"``: 1 for every step that ends at the goal. ``"straight"`` and ``"path"`` add how many cells nearer
            the goal a step came, as the crow flies or around the walls; over an episode this adds up to the same, whatever way
            was taken, so it does not change what is best.
        goal: Its character in the layout, ``"any"`` of them, or ``"drawn"``: another one in every episode, which is observed.
        terminates: Whether the episode ends at the goal.
        goal_radius: At the goal is within this many cells of a goal cell's middle; None: in the cell.
        crash: Reward for touching an obstacle.
        speed: Cells per step at a full push, at most 1.
        inertia: 0: the action sets the velocity; towards 1 it becomes a force on a heavy body.
        noise: Standard deviation of a Gaussian added to every action.
        spread: How far from the middle of its cell an episode starts at most, along x and along y.
        horizon: Steps after which an episode is cut off; None: never.
        pixels: 0: vectors. Otherwise observations are pictures of so many pixels a side, [pixels, pixels, 3] uint8.

    Raises:
        PlanError: for a layout that is none, naming row and column, or a number out of range.

    Example:
        >>> world = PointMaze("u", spread=0.0).open(1)
        >>> observation, _ = world.reset(torch.tensor([0]), torch.tensor([7]))
        >>> observation                       # the middle of cell (1, 1): 1 of 2.5 cells left of the centre and above it
        tensor([[-0.4000, -0.4000]])
        >>> world.step(torch.tensor([0]), torch.tensor([[1.0, 0.0]])).observation
        tensor([[-0.3000, -0.4000]])

    Source: the mazes of D4RL (arXiv:2004.07219) and D3IL's "avoiding" (arXiv:2402.14606), without a physics engine; progress
        as a reward: Ng, Harada & Russell, Policy invariance under reward transformations, ICML 1999.
    """

    layout: str | tuple[str, ...] = "u"
    reward: Literal["sparse", "straight", "path"] = "sparse"
    goal: str = "any"
    terminates: bool = True
    goal_radius: float | None = None
    crash: float = 0.0
    speed: float = 0.25
    inertia: float = 0.0
    noise: float = 0.0
    spread: float = 0.25
    horizon: int | None = 200
    pixels: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.layout, str) and self.layout not in LAYOUTS:
            raise PlanError(f"PointMaze: there is no layout {self.layout!r}; {nearest(self.layout, LAYOUTS)}")
        if isinstance(self.layout, list):
            object.__setattr__(self, "layout", tuple(self.layout))
        if self.reward not in _REWARDS:
            raise PlanError(f"PointMaze.reward {self.reward!r}; {nearest(str(self.reward), _REWARDS)}")
        known = (*self.grid.names, "any", "drawn")
        if str(self.goal) not in known:
            raise PlanError(f"PointMaze.goal {self.goal!r}; {nearest(str(self.goal), known)}")
        object.__setattr__(self, "goal", str(self.goal))  # a plan's YAML may say 2
        if self.goal_radius is not None and not self.goal_radius > 0:
            raise PlanError(f"PointMaze.goal_radius must be above 0, or None, got {self.goal_radius}")
        if not 0 < self.speed <= 1:
            raise PlanError(f"PointMaze.speed must be in (0, 1] cells per step, got {self.speed}")
        if not 0 <= self.inertia < 1:
            raise PlanError(f"PointMaze.inertia must be in [0, 1), got {self.inertia}")
        if not 0 <= self.noise < np.inf or not np.isfinite(self.crash):
            raise PlanError(f"PointMaze: noise must be at least 0 and crash finite, got {self.noise} and {self.crash}")
        if not 0 <= self.spread < 0.5:
            raise PlanError(f"PointMaze.spread must be in [0, 0.5), got {self.spread}")
        if self.horizon is not None and self.horizon < 1:
            raise PlanError(f"PointMaze.horizon must be at least 1, or None, got {self.horizon}")
        if self.pixels and self.pixels < 8:
            raise PlanError(f"PointMaze.pixels must be 0 (vectors) or at least 8, got {self.pixels}")

    @property
    def grid(self) -> Grid:
        """The layout's cells."""
        return grid_of(LAYOUTS[self.layout] if isinstance(self.layout, str) else self.layout)

    @property
    def observation(self) -> Box:
        if self.pixels:
            return Box((self.pixels, self.pixels, 3), 0, 255, "uint8")
        return Box((2 + 2 * (self.inertia > 0) + 2 * (self.goal == "drawn"),), -1.0, 1.0)

    @property
    def action(self) -> Box:
        return Box((2,), -1.0, 1.0)

    def open(self, n: int) -> OpenMaze:
        return OpenMaze(self, n)

    def positions(self, observations: Tensor) -> Tensor:
        """[..., 2] float64 x and y in cells, from the top left corner, of observations that are vectors.

        Raises:
            PlanError: for observations that are pictures.

        >>> PointMaze("u").positions(torch.tensor([-0.4, 0.4])).round(decimals=4)
        tensor([1.5000, 3.5000], dtype=torch.float64)
        """
        if self.pixels:
            raise PlanError("PointMaze: positions cannot be read off pictures; give the mazes of demonstrations pixels=0")
        g = self.grid
        return observations[..., :2].double() * (max(g.width, g.height) / 2) + torch.tensor([g.width / 2, g.height / 2]).double()

    def distance(self, observations: Tensor) -> Tensor:
        """[k] cells to the goal around the walls, of [k, ...] observations; with a drawn goal, to the nearest of all."""
        wanted = np.full(len(observations), self.grid.names.index(self.goal) if self.goal in self.grid.names else -1)
        return torch.from_numpy(self.grid.distance(self.positions(observations).numpy(), wanted))

    @property
    def gaps(self) -> tuple[int, ...]:
        """In how many places each band of rows can be crossed, from the top; the product counts the routes.

        A band is a row with several gaps between obstacles, or such rows below each other with the same gaps.

        >>> PointMaze("avoiding").gaps, PointMaze("two-routes").gaps
        ((4, 3, 2), (2,))
        """
        return tuple(len(gaps) for _, gaps in self.grid.bands)

    def route(self, observations: Tensor) -> tuple[int, ...]:
        """Which gap of every band a trajectory's [T+1, ...] observations went through last, 0 the leftmost; -1: none.

        >>> import torch
        >>> maze = PointMaze("two-routes")                      # two gaps: columns 1-2 and 6-7, on both sides of the obstacle
        >>> maze.route(torch.tensor([[0.0, 0.6], [0.6, 0.0], [0.0, -0.6]]))
        (1,)
        """
        where = np.floor(self.positions(observations).numpy()).astype(np.int64)
        found = []
        for rows, gaps in self.grid.bands:
            column = where[np.isin(where[:, 1], rows), 0]
            through = [k for x in column for k, (first, last) in enumerate(gaps) if first <= x <= last]
            found.append(through[-1] if through else -1)
        return tuple(found)
