"""Pictures of a maze: a large one to look at, and small ones to observe."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from guerdon.worlds._maze_grid import Floats, Grid, Ints

FLOOR, WALL, DEADLY, START = (248, 247, 243), (62, 66, 84), (205, 82, 82), (226, 226, 236)
GOAL, IDLE = (120, 190, 130), (205, 224, 203)  # a goal that counts, and one that does not
POINT, TRAIL = (38, 84, 190), (120, 150, 215)


def background(grid: Grid, wanted: int, scale: float, size: tuple[int, int], radius: float | None = None) -> Floats:
    """[H, W, 3] the cells seen from above, smooth at their edges, with the maze in the middle.

    Args:
        grid: The cells.
        wanted: Which goal counts; -1: all of them.
        scale: Pixels per cell.
        size: (H, W).
        radius: Of goals that are discs; None: they are cells.
    """
    fine = 4  # samples per pixel and axis
    colours = np.tile(np.array(FLOOR, dtype=np.float64), (len(grid.solid), 1))
    colours[grid.solid], colours[grid.deadly] = WALL, DEADLY
    if (starts := np.unique(grid.cell(grid.starts))).size < (~grid.solid).sum() // 2:
        colours[starts] = START
    lit = (grid.goal_of >= 0) & ((grid.goal_of == wanted) | (wanted < 0))
    if radius is None:
        colours[grid.goal_of >= 0], colours[lit] = IDLE, GOAL
    at = [(np.arange(n * fine) + 0.5) / fine - n / 2 for n in size]
    y, x = (a / scale + side / 2 for a, side in zip(at, (grid.height, grid.width), strict=True))
    cell_y, cell_x = (np.clip(np.floor(v), -1, m).astype(np.int64) + 1 for v, m in ((y, grid.height), (x, grid.width)))
    seen = colours[cell_y[:, None] * grid.stride + cell_x[None]]
    if radius is not None:
        for centre, goal in zip(grid.goal_centres, grid.goal_index, strict=True):
            disc = (x[None] - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2 <= radius**2
            seen[disc] = GOAL if wanted in (-1, goal) else IDLE
    return seen.reshape(size[0], fine, size[1], fine, 3).mean((1, 3))


def dab(image: Floats, at: Floats, radius: float, colour: tuple[int, int, int], alpha: float = 1.0) -> None:
    """A smooth disc painted at pixel coordinates [2], x and y."""
    x, y = at.tolist()
    low = np.maximum(np.floor([y - radius - 1, x - radius - 1]).astype(int), 0)
    high = np.minimum(np.ceil([y + radius + 1, x + radius + 1]).astype(int) + 1, image.shape[:2])
    rows, columns = (np.arange(a, b) + 0.5 for a, b in zip(low, high, strict=True))
    cover = np.clip(radius + 0.5 - np.hypot(rows[:, None] - y, columns[None] - x), 0, 1)[..., None] * alpha
    part = image[low[0] : high[0], low[1] : high[1]]
    part += cover * (np.array(colour) - part)


def picture(grid: Grid, wanted: int, trail: Floats, radius: float | None, scale: int = 36) -> NDArray[np.uint8]:
    """[H, W, 3] the maze with a trail of [t, 2] positions; the point is at its end."""
    image = background(grid, wanted, scale, (grid.height * scale, grid.width * scale), radius)
    if len(trail) > 1:
        for a, b in pairwise(trail):
            for f in np.linspace(0, 1, 1 + int(np.ceil(np.hypot(*(b - a)) * scale / 2)), endpoint=False):
                dab(image, (a + f * (b - a)) * scale, 0.05 * scale, TRAIL)
        dab(image, trail[0] * scale, 0.11 * scale, WALL)
        dab(image, trail[0] * scale, 0.07 * scale, FLOOR)
    dab(image, trail[-1] * scale, 0.19 * scale, (255, 255, 255))
    dab(image, trail[-1] * scale, 0.15 * scale, POINT)
    return np.round(image).astype(np.uint8)


class Camera:
    """Small pictures of k points at once, for policies that see; a point's place shows below the size of a pixel.

    Args:
        grid: The cells.
        pixels: Side of a picture.
        radius: Of goals that are discs.
    """

    def __init__(self, grid: Grid, pixels: int, radius: float | None = None):
        self.scale = pixels / max(grid.width, grid.height)
        self.pixels = pixels
        self.corner = pixels / 2 - self.scale * np.array([grid.width, grid.height]) / 2
        shape = (pixels, pixels)
        each = [background(grid, g, self.scale, shape, radius) for g in [*range(grid.goals), -1]]  # -1 is found at the end
        self.radius = max(1.0, 0.3 * self.scale)
        self.reach = int(np.ceil(self.radius)) + 1
        edge = ((0, 0), (self.reach, self.reach), (self.reach, self.reach), (0, 0))  # a point near the edge paints over it
        self.backgrounds = np.pad(np.round(np.stack(each)).astype(np.uint8), edge)

    def __call__(self, position: Floats, wanted: Ints) -> NDArray[np.uint8]:
        """[k, pixels, pixels, 3] of [k, 2] positions."""
        out, r = self.backgrounds[wanted], self.reach
        at = position * self.scale + self.corner
        place = np.floor(at).astype(np.int64)[:, :, None] + np.arange(-r, r + 1)  # [k, 2, p] columns and rows of a patch
        gap = place + 0.5 - at[:, :, None]
        cover = np.clip(self.radius + 0.5 - np.hypot(gap[:, 1, :, None], gap[:, 0, None, :]), 0, 1)[..., None]
        where = np.arange(len(position))[:, None, None], place[:, 1, :, None] + r, place[:, 0, None, :] + r
        under = out[where]
        out[where] = np.round(under + cover * (np.array(POINT) - under)).astype(np.uint8)
        return np.ascontiguousarray(out[:, r:-r, r:-r])
