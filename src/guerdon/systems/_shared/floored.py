"""Floored: a hidden preference in which an output is worth at least something."""

from __future__ import annotations

from typing import ClassVar

from guerdon.core import Reward, RewardOutput, Rollout
from guerdon.core.reward import Scope


class Floored:
    """The reward, raised to ``low`` where it is below.

    The preference of ``tasks.Stories`` runs from 1 down without end, so that its mean over a few seeds is the depth of the one
    deepest fall. From 0 to 1 it says how good stories are.

    Args:
        reward: What is raised.
        low: The least an output is worth.

    Example:
        >>> from guerdon.rewards import Length, recorded
        >>> Floored(Length(high=1), low=0.5)(recorded(["q"] * 2, ["a", "a b"])).total.tolist()
        [1.0, 0.5]
    """

    differentiable: ClassVar[bool] = False

    def __init__(self, reward: Reward, low: float = 0.0):
        self.reward, self.low = reward, low

    @property
    def scope(self) -> Scope:
        return self.reward.scope

    def __call__(self, rollout: Rollout) -> RewardOutput:
        found = self.reward(rollout).checked()
        return found.replace(total=found.total.clamp(min=self.low))
