"""Budget: how much a study may spend, the same for each of its arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from guerdon.core.errors import PlanError, nearest

Name = Literal["tiny", "default", "long"]
T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """What an arm is told of the size it should run at.

    Args:
        name: ``"tiny"`` runs a study end to end in seconds and says nothing of its claim; ``"default"`` gives the verdict, in
            at most ten minutes on two cores; ``"long"`` adds arms, seeds and draws.

    Example:
        >>> Budget("tiny").pick(tiny=2, default=100), Budget("long").pick(tiny=2, default=100)
        (2, 100)
    """

    name: Name = "default"

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise PlanError(f"no budget {self.name!r}; {nearest(self.name, get_args(Name))}")

    def pick(self, *, tiny: T, default: T, long: T | None = None) -> T:
        """The value of this budget; the long one is the default's unless it has its own."""
        if self.name == "tiny":
            return tiny
        return default if self.name == "default" or long is None else long
