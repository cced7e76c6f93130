"""Cell: what a letter of a grid world's map means."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from guerdon.core.errors import PlanError


@dataclass(frozen=True)
class Cell:
    """What happens in a cell. Every step that ends in it earns its reward, also one that was stopped by a wall.

    Args:
        reward: Earned by every step that ends here.
        ends: The episode ends here.
        wall: Nobody enters.
        once: Taken by the first visit of an episode (a key, a coin): afterwards it is plain floor.
        needs: Letters whose ``once`` cells must all have been taken before this one can be entered; until then it is a wall.
        start: Episodes begin here (in one of them at random, where the map has several).
        colour: ``"#rrggbb"``; "" leaves it to the sign of the reward.

    Example:
        >>> Cell(reward=1.0, ends=True, needs="K")  # a goal behind a lock
        Cell(reward=1.0, ends=True, wall=False, once=False, needs='K', start=False, colour='')
    """

    reward: float = 0.0
    ends: bool = False
    wall: bool = False
    once: bool = False
    needs: str = ""
    start: bool = False
    colour: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward):
            raise PlanError(f"Cell: reward must be finite, got {self.reward}")
        if self.start and (self.ends or self.wall or self.once or self.needs):
            raise PlanError("Cell: a start is open floor; it cannot be a wall, end the episode, be taken or need anything")
        if self.wall and (self.ends or self.once or self.needs or self.reward):
            raise PlanError("Cell: nobody enters a wall, so it has no reward and is neither end nor taken nor locked")
        if self.ends and self.once:
            raise PlanError("Cell: an episode ends here only once, so ends and once do not go together")
        if self.colour and not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise PlanError(f"Cell: colour must be '#rrggbb' or '', got {self.colour!r}")
