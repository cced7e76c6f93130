"""Length: as long as asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class Length:
    r"""1 for an output of the wanted length, falling in proportion to how far off it is.

    With length n and a range [low, high]: r = n / low below it, 1 inside, max(0, 2 - n / high) above. ``target`` is the range
    [target, target], so that r = max(0, 1 - |n - target| / target). The part ``length`` is n.

    Args:
        target: Wanted length; give this, or ``low`` and ``high``.
        low: Shortest good length (None: none).
        high: Longest good length (None: none).
        unit: What is counted: ``"word"`` (between spaces), ``"character"``, or ``"step"`` (what the policy chose: tokens).

    Example:
        >>> from guerdon.rewards import recorded
        >>> Length(low=2, high=4)(recorded(["q"] * 3, ["one", "one two", "one two three four five"])).total.tolist()
        [0.5, 1.0, 0.75]
    """

    target: int | None = None
    low: int | None = None
    high: int | None = None
    unit: Literal["word", "character", "step"] = "word"
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if (self.target is None) == (self.low is None and self.high is None):
            raise PlanError("Length: give either target, or low and high (or one of them)")
        if any(v is not None and v < 1 for v in (self.target, self.low, self.high)):
            raise PlanError("Length: lengths must be at least 1")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise PlanError(f"Length: low {self.low} is above high {self.high}")
        if self.unit not in ("word", "character", "step"):
            raise PlanError(f"Length: unit must be 'word', 'character' or 'step', got {self.unit!r}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        low, high = (self.low, self.high) if self.target is None else (self.target, self.target)
        steps = rollout.mask.sum(1).tolist()

        def score(n: int) -> dict[str, float]:
            below = 1.0 if low is None or n >= low else n / low
            above = 1.0 if high is None or n <= high else max(0.0, 2 - n / high)
            return {"total": min(below, above), "length": n}

        if self.unit == "step":
            return each(rollout, lambda _, k: score(steps[k]))
        return each(rollout, lambda output, _: score(len(text_of(output).split() if self.unit == "word" else text_of(output))))
