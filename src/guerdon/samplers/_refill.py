"""Refill: draw again until enough groups carry a signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw
from guerdon.core.stats import differing_groups
from guerdon.samplers._group import sample_and_score


@dataclass(frozen=True)
class Refill:
    """Groups whose ok rewards all agree teach nothing: draw further contexts until ``contexts`` groups differ inside.

    Dynamic sampling of DAPO (arXiv:2503.14476). After ``tries`` rounds the draw goes on with what it has; at least one group
    stays, so that a run on a solved task ends by its own rules and not here. The part ``rounds`` of the reward says how many
    rounds a draw took, so that what was drawn and dropped can be counted.

    Args:
        contexts: Groups wanted per draw, and contexts per round.
        n: Samples per context.
        tries: Rounds at most.
        chunk: As in ``Group``.
        controls: As in ``Group``.
    """

    contexts: int = 8
    n: int = 8
    tries: int = 4
    chunk: int | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.contexts < 1 or self.n < 2 or self.tries < 1:
            raise PlanError("Refill: contexts and tries must be at least 1, n at least 2")

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        if draw.scope == "batch":
            raise PlanError("Refill keeps and drops groups, so it needs a reward of scope 'sample' or 'group', not 'batch'")
        kept: list[tuple[Rollout, RewardOutput]] = []
        missing = self.contexts
        rounds = 0
        for _ in range(self.tries):
            rounds += 1
            rollout, reward = sample_and_score(draw, draw.items(self.contexts), self.n, self.controls, self.chunk)
            alive = differing_groups(rollout.group, reward.total, reward.ok)
            groups = rollout.group[alive].unique(sorted=True)[:missing]
            rows = torch.isin(rollout.group, groups)
            kept.append((rollout[rows], reward[rows]))
            missing -= len(groups)
            if missing == 0:
                break
        if missing == self.contexts:  # nothing differs anywhere: the last round stands for the draw
            kept = [(rollout, reward)]
        full = [k for k in kept if len(k[0])]
        found = RewardOutput.cat([o for _, o in full])
        parts = {**found.parts, "rounds": torch.full_like(found.total, rounds)}
        return Rollout.cat([r for r, _ in full]), found.replace(parts=parts)
