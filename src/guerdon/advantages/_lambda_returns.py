"""LambdaReturns: what a critic is regressed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from guerdon.advantages._base import counted, on_chosen
from guerdon.advantages._gae import check_rate
from guerdon.core.batch import Batch, rewards
from guerdon.core.credit import td_lambda_returns
from guerdon.core.errors import PlanError, nearest
from guerdon.core.protocols import Need


@dataclass(frozen=True)
class LambdaReturns:
    r"""TD($\lambda$) targets $G_t = r_t + \gamma \left((1 - \lambda) V_{t'} + \lambda G_{t'}\right)$, $t'$ the next chosen step.

    They are ``GAE`` plus the values, taken once per draw. Beside the advantage proper they stay with every step, also where a
    learner cuts trajectories into single steps and a loss can no longer see what came after:
    ``advantage={"main": GAE(...), "return": LambdaReturns(...)}`` with ``objectives.ValueLoss(target="return")``.

    Args:
        gamma: Discount per chosen step.
        lam: 1: discounted returns, bootstrapped where a row was cut off; 0: one-step bootstraps.
        critic: Which of ``batch.values``.

    Returns:
        [B, T] in reward units; 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.advantages import GAE
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch(fail=0.0)
        >>> values = batch.values["critic"][:, :-1] * batch.rollout.mask
        >>> bool((LambdaReturns(0.9)(batch) - GAE(0.9)(batch) - values).abs().max() < 1e-12)
        True

    Source: the targets of PPO's critic (arXiv:1707.06347); GAE (arXiv:1506.02438).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reward", "values"})

    gamma: float = 1.0
    lam: float = 0.95
    critic: str = "critic"

    def __post_init__(self) -> None:
        check_rate("LambdaReturns", "gamma", self.gamma)
        check_rate("LambdaReturns", "lam", self.lam)

    def __call__(self, batch: Batch) -> Tensor:
        if self.critic not in batch.values:
            raise PlanError(
                f"LambdaReturns: the batch has no values of a critic {self.critic!r}; {nearest(self.critic, batch.values)}"
            )
        rollout, values = batch.rollout, batch.values[self.critic].detach()
        target = td_lambda_returns(rewards(batch).to(values), values, rollout.mask, rollout.terminal, self.gamma, self.lam)
        return on_chosen(target, batch, counted(batch, False))
