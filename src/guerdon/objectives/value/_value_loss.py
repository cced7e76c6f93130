"""ValueLoss: a critic regressed on what came after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

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

    Where a learner cuts trajectories into single steps (``Train(by="step")``), targets have to be known before: the plan computes
    them with ``advantages.LambdaReturns`` under a name, and ``target`` says which; ``gamma`` and ``lam`` are then not read.

    A critic that predicts a distribution of returns is trained by that distribution's own loss: give the head it was made with,
    such as ``policies.HLGauss``.

    Args:
        gamma: Discount per chosen step.
        lam: 1: returns; 0: one-step bootstraps.
        clip: Largest change in reward units that is learnt from; None: no bound.
        critic: Which of ``batch.values`` the targets bootstrap from.
        target: Which of ``batch.advantage`` is the target; None: TD($\lambda$) over the rows as they are.
        head: The critic's head, with ``loss(raw, target) -> [B, T]`` on its raw outputs [B, T, K]; None: the squared error above.

    Returns:
        [B, T] loss per step, 0 where nothing counts; in squared reward units unless a head says otherwise.

    Raises:
        PlanError: for rates outside 0 .. 1, a clip together with a head, or a batch without the critic or the target.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> batch = example_batch()
        >>> ValueLoss(lam=0.9)(example_output(batch), batch).shape
        torch.Size([12, 8])

    Source: PPO (arXiv:1707.06347).
    """

    unit: ClassVar[Unit] = "step"

    gamma: float = 1.0
    lam: float = 0.95
    clip: float | None = None
    critic: str = "critic"
    target: str | None = None
    head: Any = None

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanError(f"ValueLoss: {name} must be between 0 and 1, got {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise PlanError(f"ValueLoss: clip must be above 0, got {self.clip}")
        if self.head is not None and not callable(getattr(self.head, "loss", None)):
            raise PlanError(f"ValueLoss: head is {self.head!r}; expected a value head with a loss, such as policies.HLGauss()")
        if self.head is not None and self.clip is not None:
            raise PlanError("ValueLoss: clip bounds the squared error, and a head has a loss of its own; set one of them")

    @property
    def needs(self) -> frozenset[Need]:
        if self.target is None:
            return frozenset({"value", "values", "reward"})
        given: frozenset[Need] = frozenset({"value", "advantage"})
        return given if self.clip is None else given | {"values"}

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        keep = counted(batch)
        target = clean(self._target(batch), keep)
        if self.head is not None:
            raw = torch.where(keep[..., None], new.need("value_raw")[:, :-1], 0.0)
            return clean(self.head.loss(raw, target), keep)
        value = clean(new.need("value")[:, :-1], keep)
        loss = (value - target.to(value)).square()
        if self.clip is not None:
            before = clean(self._old(batch)[:, :-1], keep)
            near = before + (value - before).clamp(-self.clip, self.clip)
            loss = torch.maximum(loss, (near - target).square())
        return 0.5 * loss

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """[B, T] what the values are drawn to."""
        if self.target is not None:
            if self.target not in batch.advantage:
                known = nearest(self.target, batch.advantage)
                raise PlanError(f"ValueLoss: the batch has no advantage {self.target!r} to take as its target; {known}")
            return batch.advantage[self.target].detach()
        rollout, old = batch.rollout, self._old(batch)
        return td_lambda_returns(rewards(batch).to(old), old, rollout.mask, rollout.terminal, self.gamma, self.lam)

    def _old(self, batch: Batch) -> Tensor:
        """[B, T+1] the critic's values at draw time."""
        if self.critic not in batch.values:
            raise PlanError(
                f"ValueLoss: the batch has no values of a critic {self.critic!r}; {nearest(self.critic, batch.values)}"
            )
        return batch.values[self.critic].detach()
