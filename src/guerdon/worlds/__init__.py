"""Worlds: what a policy acts in. Each is a frozen spec (``core.world.WorldSpec``) that a plan names, and opens a live world."""

from guerdon.worlds._waypoints import waypoint_expert
from guerdon.worlds.grid import Cell, GridWorld
from guerdon.worlds.gym import Gym
from guerdon.worlds.icu_sepsis import IcuSepsis
from guerdon.worlds.mdp import MDP
from guerdon.worlds.point_maze import PointMaze
from guerdon.worlds.tabular import Tabular, TabularFile

__all__ = ["MDP", "Cell", "GridWorld", "Gym", "IcuSepsis", "PointMaze", "Tabular", "TabularFile", "waypoint_expert"]
