"""Environment: what the world itself pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from guerdon.core import RewardError, RewardOutput, Rollout
from guerdon.core.reward import Scope


@dataclass(frozen=True)
class Environment:
    """The rewards that the world gave while the policy acted, in ``rollout.trace["reward"]``.

    A row whose environment broke (``rollout.info["failed"]``) is not ok, with that reason.

    Args:
        dense: Every step has its own reward (for critics); False: a row's sum is its reward (for groups, for evaluation).

    Returns:
        Dense: ``step`` [B, T] and ``total`` 0. Otherwise ``total`` [B].

    Example:
        >>> one = torch.ones(1, 3)
        >>> rollout = Rollout(["start"], ["episode"], one, one.bool(), one[:, 0].long(), one[:, 0].long(), trace={"reward": one})
        >>> Environment()(rollout).step.tolist(), Environment(dense=False)(rollout).total.tolist()
        ([[1.0, 1.0, 1.0]], [3.0])
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    journaled: ClassVar[bool] = False  # what it says is in the rows already

    dense: bool = True

    def __call__(self, rollout: Rollout) -> RewardOutput:
        if "reward" not in rollout.trace:
            raise RewardError("rewards.Environment reads what a world paid, and these rows were not made in one")
        paid = torch.where(rollout.mask, rollout.trace["reward"].float(), 0.0)
        failed = list(rollout.info.get("failed", [""] * len(rollout)))
        ok = torch.tensor([not f for f in failed], dtype=torch.bool)
        total = torch.zeros(len(rollout)) if self.dense else paid.sum(1)
        return RewardOutput(torch.where(ok, total, 0.0), ok, failed, paid if self.dense else None)
