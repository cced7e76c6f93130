"""Regex: an output that a pattern describes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.child import Target, score_texts

_TARGET = Target(str(Path(__file__).with_name("pattern_worker.py")), "match")


@dataclass(frozen=True)
class Regex:
    """1 where a regular expression (Python's ``re``) is found in the output, else 0.

    A pattern with nested repetition can take longer than the universe on a text made for it, and nothing inside a process
    interrupts ``re``. So patterns run in processes that are killed when a row takes too long; that row is then not ok.

    Args:
        pattern: The pattern; flags as in ``(?i)``.
        full: Whether it must describe the whole output.
        timeout: Seconds per row.

    Example:
        >>> from guerdon.rewards import recorded
        >>> Regex(r"[0-9]+")(recorded(["2 + 2 ="] * 2, ["It is 4.", "four"])).total.tolist()
        [1.0, 0.0]
    """

    pattern: str
    full: bool = False
    timeout: float = 2.0
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    bounded: ClassVar[bool] = True  # keeps its own time

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except (re.error, TypeError) as e:
            raise PlanError(f"Regex: {self.pattern!r} is not a pattern: {e}") from None
        if not self.timeout > 0:
            raise PlanError(f"Regex: timeout must be above 0 s, got {self.timeout}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        settings = {"pattern": self.pattern, "full": self.full}
        return score_texts(_TARGET, rollout.outputs, [settings] * len(rollout), self.timeout)
