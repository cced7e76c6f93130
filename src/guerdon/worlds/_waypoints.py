"""A scripted expert for point mazes: it knows the way, and walks it as well or as badly as it is told to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guerdon.core.errors import PlanError
from guerdon.core.streams import Stream, mix
from guerdon.core.world import Episode
from guerdon.worlds._maze_grid import Bools, Grid
from guerdon.worlds.point_maze import PointMaze


def waypoint_expert(
    maze: PointMaze,
    seeds: Sequence[int] | Tensor,
    *,
    noise: float = 0.0,
    random: float = 0.0,
    pace: float = 1.0,
    goal: str | None = None,
    route: Sequence[int] | None = None,
    steps: int | None = None,
) -> list[Episode]:
    """Whole episodes of somebody who knows the maze: demonstrations, and material for preferences over segments.

    It heads for the middle of the next cell on the shortest way, with a push in proportion to what is missing. Episodes that
    begin from the same seed begin in the same place, whatever the quality; so two calls make pairs to compare.

    Args:
        maze: The world.
        seeds: One episode is made for each.
        noise: Standard deviation of a Gaussian added to every action.
        random: Share of steps with an action drawn uniformly from the box instead.
        pace: Share of the full speed that is aimed at, in (0, 1].
        goal: Which goal it walks to, by its character; None: the one that counts, the nearest of several.
        route: Which gap of every band it goes through (``PointMaze.gaps``); -1: as it likes. None: the shortest way.
        steps: Longest episode; None: the maze's horizon.

    Raises:
        PlanError: where no way leads to the goal by that route, or an argument is out of range.

    Example:
        >>> done = waypoint_expert(PointMaze("u", spread=0.0), range(2), noise=0.3)
        >>> [round(float(e.rewards.sum())) for e in done], len(waypoint_expert(PointMaze("u", spread=0.0), [0])[0])
        ([1, 1], 18)
        >>> left = waypoint_expert(PointMaze("avoiding"), range(4), route=(3, 0, 1))
        >>> [PointMaze("avoiding").route(e.observations) for e in left[:2]]
        [(3, 0, 1), (3, 0, 1)]
    """
    if not 0 <= random <= 1 or not 0 < pace <= 1 or not 0 <= noise < np.inf:
        raise PlanError(f"waypoint_expert: random must be in [0, 1], pace in (0, 1], noise >= 0; got {random}, {pace}, {noise}")
    longest = steps or maze.horizon
    if longest is None:
        raise PlanError("waypoint_expert: the maze has no horizon; say how many steps an episode has at most")
    grid, given = maze.grid, torch.as_tensor(seeds if isinstance(seeds, Tensor) else list(seeds), dtype=torch.long)
    if goal is not None and goal not in grid.names:
        raise PlanError(f"waypoint_expert: no goal {goal!r} in the layout; it has {', '.join(grid.names)}")
    closed = grid.solid if route is None else closed_by(grid, route)
    onward = np.stack([grid.onward_to(g, closed) for g in [*range(grid.goals), -1]])
    world = maze.open(len(given))
    slots = torch.arange(len(given))
    seen = [world.reset(slots, given)[0]]
    target = world.wanted if goal is None else np.full(len(given), grid.names.index(goal))
    actions, rewards = [], []
    length, ended = torch.zeros(len(given), dtype=torch.long), torch.zeros(len(given), dtype=torch.bool)
    dice = Stream(mix(given, "waypoint expert"))
    running = slots
    for t in range(longest):
        k = running.numpy()
        position = world.position[k]
        ways, middles = grid.ways(position, onward[target[k], grid.cell(position)])
        if not np.isfinite(ways.min(1)).all():
            raise PlanError(
                f"waypoint_expert: no way leads to the goal{'' if route is None else f' by the route {tuple(route)}'}"
            )
        ways[:, 4] += 1e-6  # from the middle of a cell go on to the next one
        shift = middles[np.arange(len(k)), ways.argmin(1)] - position
        shift /= np.maximum(1.0, np.abs(shift).max(1, keepdims=True) / (pace * maze.speed))
        push = (shift - maze.inertia * world.velocity[k]) / ((1 - maze.inertia) * maze.speed)
        z = Stream(dice.key[running])
        push += noise * z.normal(2, start=5 * t).numpy()  # numbers 10 t .. 10 t + 3; the next three are for random steps
        u = z.uniform(3, start=10 * t + 4).numpy()
        push = np.where(u[:, :1] <= random, 2 * u[:, 1:] - 1, push) if random else push
        action = torch.from_numpy(np.clip(push, -1, 1).astype(np.float32))
        stepped = world.step(running, action)
        seen.append(_filled(seen[-1], running, stepped.observation))
        actions.append(_filled(torch.zeros(len(given), 2), running, action))
        rewards.append(_filled(torch.zeros(len(given)), running, stepped.reward.float()))
        length[running] += 1
        ended[running] = stepped.terminated
        running = running[~(stepped.terminated | stepped.truncated)]
        if not len(running):
            break
    o, a, r = torch.stack(seen, 1), torch.stack(actions, 1), torch.stack(rewards, 1)
    return [
        Episode(o[k, : n + 1].clone(), a[k, :n].clone(), r[k, :n].clone(), bool(ended[k])) for k, n in enumerate(length.tolist())
    ]


def closed_by(grid: Grid, route: Sequence[int]) -> Bools:
    """[cells] where somebody on this route may not go: walls, and the other gaps of every band.

    Raises:
        PlanError: for a route of another length, or a gap that a band does not have.
    """
    bands, closed = grid.bands, grid.solid.copy()
    if len(route) != len(bands):
        raise PlanError(f"waypoint_expert: a route of this maze names {len(bands)} gaps, got {tuple(route)}")
    for (rows, gaps), chosen in zip(bands, route, strict=True):
        if not -1 <= chosen < len(gaps):
            raise PlanError(f"waypoint_expert: the rows {rows} have the gaps 0 .. {len(gaps) - 1}, got {chosen}")
        for k, (first, last) in enumerate(gaps):
            if chosen not in (-1, k):
                for y in rows:
                    closed[(y + 1) * grid.stride + np.arange(first, last + 1) + 1] = True
    return closed


def _filled(before: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A copy with some rows replaced."""
    return before.index_copy(0, rows, values)
