"""A maze's cells: what a row of text says, where a point may go, how far it is to the goals."""

from __future__ import annotations

import heapq
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from guerdon.core.errors import PlanError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SKIN = 1e-3  # cells between a wall and a point that leans against it, so that float32 still says which cell it is in
AROUND = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])


class Moved(NamedTuple):
    """Where k points came to.

    Attributes:
        position: [k, 2].
        hit: [k, 2] bool, stopped by a wall along x, along y.
        crashed: [k] bool, ran into a cell that ends the episode.
    """

    position: Floats
    hit: Bools
    crashed: Bools


class Grid:
    """The cells of one layout, with a ring of walls around them. Cell (x, y) is the square from (x, y) to (x+1, y+1).

    Args:
        rows: The layout, row 0 first; the y axis points down, as text is read.

    Raises:
        PlanError: for rows of different lengths, an unknown character, no goal, or a goal that no start leads to.
    """

    def __init__(self, rows: tuple[str, ...]):
        self.rows, self.height, self.width = rows, len(rows), len(rows[0]) if rows else 0
        _check(rows)
        self.stride = self.width + 2
        ringed = ["#" * self.stride, *(f"#{row}#" for row in rows), "#" * self.stride]
        text = np.array([list(row) for row in ringed])
        self.deadly: Bools = (text == "X").ravel()
        self.solid: Bools = (text == "#").ravel() | self.deadly
        names = sorted({c for row in rows for c in row if c.isdigit() or c == "G"})
        self.names, self.goals = names, len(names)
        self.goal_of: Ints = np.full(text.size, -1)  # [cells] which goal a cell belongs to
        for k, name in enumerate(names):
            self.goal_of[(text == name).ravel()] = k
        starts = (text == "S").ravel()
        self.starts: Floats = self.centre(np.flatnonzero(starts if starts.any() else ~self.solid & (self.goal_of < 0)))
        goal_cells = np.flatnonzero(self.goal_of >= 0)
        self.goal_centres: Floats = self.centre(goal_cells)  # [m, 2], with their goals [m]
        self.goal_index: Ints = self.goal_of[goal_cells]
        self.goal_middles: Floats = np.stack([self.goal_centres[self.goal_index == g].mean(0) for g in range(self.goals)])
        # [goals + 1, cells, 9] the rest of the way from the middle of each neighbour of a cell; last: to any goal
        self.onward: Floats = np.stack([self.onward_to(g, self.solid) for g in [*range(self.goals), -1]])
        for k, name in enumerate(names):
            if starts.any() and not np.isfinite(self.distance(self.starts, np.full(len(self.starts), k))).all():
                raise PlanError(f"PointMaze.layout: no way leads from S to {name}")

    def cell(self, position: Floats) -> Ints:
        """[k] number of the cell that each of [k, 2] positions is in."""
        whole = np.floor(position).astype(np.int64)
        return (whole[:, 1] + 1) * self.stride + whole[:, 0] + 1

    def centre(self, cell: Ints) -> Floats:
        """[k, 2] middle of each cell."""
        return np.stack([cell % self.stride - 0.5, cell // self.stride - 0.5], -1)

    def move(self, start: Floats, shift: Floats) -> Moved:
        """Points moved in a straight line; at a wall they stop along that axis and slide along the other.

        Args:
            start: [k, 2] in free cells.
            shift: [k, 2] of at most one cell along each axis, so that each axis crosses at most one edge of a cell.
        """
        end = start + shift
        here, there = self.cell(start), self.cell(end)
        change = np.abs(there - here)
        hard = np.flatnonzero(self.solid[there] | (change > 1) & (change != self.stride))
        hit, crashed = np.zeros(start.shape, dtype=bool), np.zeros(len(start), dtype=bool)
        # Few meet a wall or cross two edges at once, so one after the other is faster than all of them in arrays.
        for k, p, v, cell in zip(hard.tolist(), start[hard].tolist(), shift[hard].tolist(), here[hard].tolist(), strict=True):
            end[k], hit[k], crashed[k] = self._move(p, v, cell)
        return Moved(end, hit, crashed)

    def _move(self, start: list[float], shift: list[float], cell: int) -> tuple[list[float], list[bool], bool]:
        """One point's (position, hit along x and y, crashed)."""
        end, hit = [start[0] + shift[0], start[1] + shift[1]], [False, False]
        crossings = []
        for axis in (0, 1):
            low = math.floor(start[axis])
            if (side := math.floor(end[axis]) - low) != 0:
                edge = low + (side > 0)
                crossings.append(((edge - start[axis]) / shift[axis], axis, side, edge))
        for time, axis, side, edge in sorted(crossings):  # in the order in which the edges are reached
            beside = cell + side * (self.stride if axis else 1)
            if not self.solid[beside]:
                cell = beside
                continue
            lean = edge - side * SKIN
            end[axis] = max(start[axis], lean) if side > 0 else min(start[axis], lean)
            hit[axis] = True
            if self.deadly[beside]:
                if not hit[1 - axis]:
                    end[1 - axis] = start[1 - axis] + time * shift[1 - axis]
                return end, hit, True
        return end, hit, False

    def goal(self, position: Floats, wanted: Ints, radius: float | None) -> Bools:
        """[k] whether each point is at the goal it wants (-1: any): in one of its cells, or near the middle of one."""
        if radius is None:
            found = self.goal_of[self.cell(position)]
            return (found >= 0) & ((wanted < 0) | (found == wanted))
        return self.straight(position, wanted) <= radius

    def straight(self, position: Floats, wanted: Ints) -> Floats:
        """[k] cells to the nearest middle of a wanted goal's cell, as the crow flies."""
        gap = np.sqrt(((position[:, None] - self.goal_centres) ** 2).sum(-1))
        if self.goals > 1:
            gap = np.where((wanted[:, None] < 0) | (wanted[:, None] == self.goal_index), gap, math.inf)
        return gap.min(1)

    def ways(self, position: Floats, onward: Floats) -> tuple[Floats, Floats]:
        """([k, 9] cells to go over each neighbouring middle, [k, 9, 2] those middles), given [k, 9] how far it is from there."""
        middles = self.centre(self.cell(position))[:, None] + AROUND
        return np.sqrt(((position[:, None] - middles) ** 2).sum(-1)) + onward, middles

    def distance(self, position: Floats, wanted: Ints) -> Floats:
        """[k] cells to the nearest middle of a wanted goal's cell, around the walls and over the middles of cells."""
        for nudge in AROUND * SKIN:  # a position in float32 may lie in the wall that its point leans on
            position = np.where(self.solid[self.cell(position)][:, None], position + nudge, position)
        return self.ways(position, self.onward[wanted, self.cell(position)])[0].min(1)

    def onward_to(self, goal: int, closed: Bools) -> Floats:
        """[cells, 9] the way to a goal (-1: any) from the middle of each neighbour that a straight line leads to.

        Args:
            goal: Its number.
            closed: [cells] where no way may lead.
        """
        far = self.field(np.flatnonzero((self.goal_of >= 0) & ((self.goal_of == goal) | (goal < 0))), closed)
        out = np.full((len(far), 9), math.inf)
        inner = np.flatnonzero(~closed)
        for k, (x, y) in enumerate(AROUND.tolist()):
            free = ~(closed[inner + x] | closed[inner + y * self.stride] | closed[inner + x + y * self.stride])
            out[inner[free], k] = far[inner[free] + x + y * self.stride]
        return out

    def field(self, targets: Ints, closed: Bools) -> Floats:
        """[cells] length of the shortest way over middles of cells to a target; diagonals only where both sides are open."""
        far = np.full(len(closed), math.inf)
        far[targets] = 0.0
        queue = [(0.0, int(c)) for c in targets]
        while queue:
            d, cell = heapq.heappop(queue)
            if d > far[cell]:
                continue
            for x, y in AROUND.tolist():
                to = cell + x + y * self.stride
                if closed[to] or closed[cell + x] or closed[cell + y * self.stride]:
                    continue
                if (new := d + math.hypot(x, y)) < far[to]:
                    far[to] = new
                    heapq.heappush(queue, (new, to))
        return far

    @property
    def bands(self) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Rows that can be crossed in several places: ([their numbers], [(first, last) column of each gap])."""
        found: list[tuple[list[int], list[tuple[int, int]]]] = []
        before: list[tuple[int, int]] = []
        for y in range(self.height):
            open_ = [x for x in range(self.width) if not self.solid[(y + 1) * self.stride + x + 1]]
            gaps = [(a, b) for a, b in _runs(open_)]
            if len(gaps) > 1:
                if gaps == before:
                    found[-1][0].append(y)
                else:
                    found.append(([y], gaps))
            before = gaps
        return found


@lru_cache(maxsize=64)
def grid_of(rows: tuple[str, ...]) -> Grid:
    """The layout's cells, made once."""
    return Grid(rows)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """(first, last) of every run of consecutive numbers.

    >>> _runs([1, 2, 3, 7])
    [(1, 3), (7, 7)]
    """
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return list(zip(starts, ends, strict=True))


def _check(rows: tuple[str, ...]) -> None:
    if not rows or not rows[0]:
        raise PlanError("PointMaze.layout: it has no cells")
    for y, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise PlanError(f"PointMaze.layout, row {y}: {len(row)} characters, expected {len(rows[0])} as in row 0")
        for x, c in enumerate(row):
            if c not in "#.XSG123456789":
                raise PlanError(f"PointMaze.layout, row {y}, column {x}: {c!r}; expected one of # . X S G 1..9")
    if not any(c == "G" or c.isdigit() for row in rows for c in row):
        raise PlanError("PointMaze.layout: no goal; mark one with G, or several with 1, 2, ...")
