"""Reinforce: the score function, without ratio or clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.policy import PolicyOutput
from guerdon.core.protocols import Need
from guerdon.core.reduction import Unit
from guerdon.objectives._base import counted, entropy_of, main_advantage, new_logp


@dataclass(frozen=True)
class Reinforce:
    r"""$L_t = -A_t \log \pi_\theta(a_t \mid s_t) - c\,H_t$; on fresh samples its gradient is the policy gradient.

    It does not ask who acted, so stale or recorded rows are taken as if they were fresh.

    Args:
        entropy: Bonus $c$ per nat of entropy.

    Returns:
        [B, T] loss per step, 0 where nothing counts.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> Reinforce()(example_output(example_batch()), example_batch()).shape
        torch.Size([12, 8])

    Source: Williams 1992, Simple statistical gradient-following algorithms (doi:10.1007/BF00992696).
    """

    unit: ClassVar[Unit] = "step"

    entropy: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.entropy):
            raise PlanError(f"Reinforce: entropy must be finite, got {self.entropy}")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"logp", "advantage", "entropy"}) if self.entropy else frozenset({"logp", "advantage"})

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        keep = counted(batch)
        loss = -main_advantage(batch, keep, "Reinforce") * new_logp(new, keep)
        return loss - self.entropy * entropy_of(new, keep) if self.entropy else loss
