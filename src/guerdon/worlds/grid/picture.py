"""A grid world drawn: cells in flat colours, round things on them, the agent on top."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from guerdon.worlds.grid.cell import Cell
from guerdon.worlds.grid.states import Grid, State

WALL, FLOOR, LINE, AGENT, EDGE = "#343a46", "#f4f1ea", "#e0dbd0", "#1f6feb", "#ffffff"
GOOD_END, BAD_END, GOOD, BAD = "#2f9e44", "#d9480f", "#b2e2b9", "#f3b8a8"


def picture(grid: Grid, state: State, tile: int) -> np.ndarray:
    """[H * tile, W * tile, 3] uint8."""
    place, taken = state
    canvas = np.empty((len(grid.rows) * tile, len(grid.rows[0]) * tile, 3))
    for y, row in enumerate(grid.rows):
        for x, letter in enumerate(row):
            cell = grid.legend[letter]
            gone = (y, x) in taken or (bool(cell.needs) and not cell.ends and not cell.reward and grid.opened(cell, taken))
            canvas[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = _tile(Cell() if gone else cell, tile)
    y, x = place
    spot = canvas[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile]
    _disc(spot, EDGE, 0.40)
    _disc(spot, AGENT, 0.34)
    return canvas.round().astype(np.uint8)


@lru_cache(maxsize=256)
def _tile(cell: Cell, tile: int) -> np.ndarray:
    spot = np.empty((tile, tile, 3))
    spot[:] = _rgb(FLOOR)
    if tile >= 8:
        spot[-1, :] = spot[:, -1] = _rgb(LINE)
    colour = cell.colour or _by_reward(cell)
    if cell.wall:
        spot[:] = _rgb(cell.colour or WALL)
    elif cell.once:
        _disc(spot, colour or GOOD_END, 0.26)
    elif colour:
        edge = 1 if tile >= 8 and not cell.ends else 0
        spot[: tile - edge, : tile - edge] = _rgb(colour)
        if cell.needs:  # a lock
            _disc(spot, "#2b2118", 0.14)
    spot.setflags(write=False)
    return spot


def _by_reward(cell: Cell) -> str:
    if cell.reward == 0:
        return "#9aa3b2" if cell.ends else ""
    return (GOOD_END if cell.ends else GOOD) if cell.reward > 0 else (BAD_END if cell.ends else BAD)


def _disc(spot: np.ndarray, colour: str, radius: float) -> None:
    """A filled circle in the middle, ``radius`` in tiles, its rim smooth."""
    size = len(spot)
    axis = np.arange(size) + 0.5 - size / 2
    cover = np.clip(radius * size + 0.5 - np.hypot(axis[:, None], axis[None]), 0, 1)[..., None]
    spot[:] = cover * np.array(_rgb(colour)) + (1 - cover) * spot


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
