"""ValueLoss: a critic regressed on what came after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core.batch import Batch, rewards
from guerdon.core.credit import td_lambda_returns
from guerdon.core.errors import PlanError, nearest
from guerdon.core.policy import PolicyOutput
from guerdon.core.protocols import Need
from guerdon.core.reduction import Unit
from guerdon.objectives._base import clean, counted


@dataclass(frozen=True)
class ValueLoss:
    r"""$L_t = \frac{1}{2} (V_\theta(s_t) - G_t)^2$ with TD($\lambda$) targets from the rewards and the values at draw time.

    With ``clip`` the critic moves at most that far from its old values $V$ before its gradient stops, as PPO's code does:
    $\frac{1}{2} \max\left((V_\theta - G)^2, (V + \mathrm{clip}(V_\theta - V, \pm\epsilon) - G)^2\right)$.

    Args:
        gamma: Discount per chosen step.
        lam: 1: returns; 0: one-step bootstraps.
        clip: Largest change in reward units that is learnt from; None: no bound.
        critic: Which of ``batch.values`` the targets bootstrap from.

    Returns:
        [B, T] loss per step in squared reward units, 0 where nothing counts.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> batch = example_batch()
        >>> ValueLoss(lam=0.9)(example_output(batch), batch).shape
        torch.Size([12, 8])

    Source: PPO (arXiv:1707.06347).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"value", "values", "reward"})
    unit: ClassVar[Unit] = "step"

    gamma: float = 1.0
    lam: float = 0.95
    clip: float | None = None
    critic: str = "critic"

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanError(f"ValueLoss: {name} must be between 0 and 1, got {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise PlanError(f"ValueLoss: clip must be above 0, got {self.clip}")

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        if self.critic not in batch.values:
            raise PlanError(
                f"ValueLoss: the batch has no values of a critic {self.critic!r}; {nearest(self.critic, batch.values)}"
            )
        keep, old = counted(batch), batch.values[self.critic].detach()
        with torch.no_grad():
            rollout = batch.rollout
            target = td_lambda_returns(rewards(batch).to(old), old, rollout.mask, rollout.terminal, self.gamma, self.lam)
        target, before = clean(target, keep), clean(old[:, :-1], keep)
        value = clean(new.need("value")[:, :-1], keep)
        loss = (value - target).square()
        if self.clip is not None:
            near = before + (value - before).clamp(-self.clip, self.clip)
            loss = torch.maximum(loss, (near - target).square())
        return 0.5 * loss
