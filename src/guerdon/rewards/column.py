"""Column: a reward that the data or the environment already holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.lift import plain
from guerdon.rewards.rows import each


@dataclass(frozen=True)
class Column:
    """The number in a column of ``info``; numbers written as text are read. A row without one is not ok.

    Args:
        name: Of the column.

    Raises:
        RewardError: where the rollout has no such column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> out = Column("score")(recorded(["q"] * 3, ["a", "b", "c"], {"score": [0.5, "2", None]}))
        >>> out.total.tolist(), out.reason
        ([0.5, 2.0, 0.0], ['', '', "ValueError: column 'score' is empty"])
    """

    name: str
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        if self.name not in rollout.info:
            raise RewardError(f"Column: the rollout has no column {self.name!r}; {nearest(self.name, rollout.info)}")
        column = rollout.info[self.name]

        def score(_: Any, k: int) -> Any:
            value = plain(column[k])
            if value is None or value == "":
                raise ValueError(f"column {self.name!r} is empty")
            return float(value) if isinstance(value, str) else value

        return each(rollout, score)
