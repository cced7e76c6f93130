"""Grid worlds: a map in text, what its letters mean, and how it is drawn."""

from guerdon.worlds.grid.cell import Cell
from guerdon.worlds.grid.gridworld import GridWorld
from guerdon.worlds.grid.layouts import LAYOUTS, LEGEND

__all__ = ["LAYOUTS", "LEGEND", "Cell", "GridWorld"]
