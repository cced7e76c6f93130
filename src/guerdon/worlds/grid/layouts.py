"""Maps by name, and the letters they are written in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from guerdon.worlds.grid.cell import Cell

LEGEND: Mapping[str, Cell] = MappingProxyType(
    {
        "#": Cell(wall=True),
        ".": Cell(),
        " ": Cell(),
        "S": Cell(start=True),
        "G": Cell(reward=1.0, ends=True),
        "L": Cell(reward=-1.0, ends=True, colour="#d9480f"),  # lava
        "K": Cell(once=True, colour="#f2b705"),  # key
        "D": Cell(needs="K", colour="#8a5a2b"),  # door
        "o": Cell(reward=0.1, once=True, colour="#e6a700"),  # coin
        "x": Cell(reward=-0.1, colour="#b7a7c9"),  # rough road
        "s": Cell(reward=-1.0, colour="#e58a8a"),  # something that must not be run over
    }
)

LAYOUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "corridor": ("S.......G",),
        "four-rooms": (  # Sutton, Precup & Singh 1999, with a start in one corner and the goal in the other
            "#############",
            "#S....#.....#",
            "#.....#.....#",
            "#...........#",
            "#.....#.....#",
            "#.....#.....#",
            "##.####.....#",
            "#.....###.###",
            "#.....#.....#",
            "#.....#.....#",
            "#...........#",
            "#.....#....G#",
            "#############",
        ),
        "key-door": (  # three stages: to the key, to the door, to the goal
            "########",
            "#S..#..#",
            "#...#..#",
            "#...D..#",
            "#...#..#",
            "#.#.#.G#",
            "#.#K#..#",
            "########",
        ),
        "delivery": (  # a short way over rough road, a long clean one, coins beside it, things to drive around
            "S.o.....",
            ".xxx.s..",
            ".xsx..o.",
            ".xxxx.s.",
            "..s.xx..",
            ".o..s.x.",
            ".s...xx.",
            "...o...G",
        ),
    }
)
