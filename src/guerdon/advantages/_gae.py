"""GAE: advantages from a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from guerdon.advantages._base import counted, on_chosen
from guerdon.core.batch import Batch, rewards
from guerdon.core.credit import gae, td_lambda_returns
from guerdon.core.errors import PlanError, nearest
from guerdon.core.protocols import Need

__all__ = ["GAE", "gae", "td_lambda_returns"]


def check_rate(name: str, field: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise PlanError(f"{name}: {field} must be between 0 and 1, got {value}")


@dataclass(frozen=True)
class GAE:
    r"""Generalised advantage estimates: $A_t = \sum_k (\gamma \lambda)^k \delta_{t+k}$, $\delta_t = r_t + \gamma V_{t+1} - V_t$.

    Time runs over the chosen steps only, whatever stands between them; ``guerdon.advantages.gae`` says the details. A row that
    was cut off (``terminal`` False) is bootstrapped from the value of its last state.

    Args:
        gamma: Discount per chosen step.
        lam: Between one-step differences (0: low variance) and returns minus values (1: no bias).
        critic: Which of ``batch.values``.

    Returns:
        [B, T] in reward units; 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> GAE(gamma=0.99)(example_batch()).shape
        torch.Size([12, 8])

    Source: GAE (arXiv:1506.02438).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reward", "values"})

    gamma: float = 1.0
    lam: float = 0.95
    critic: str = "critic"

    def __post_init__(self) -> None:
        check_rate("GAE", "gamma", self.gamma)
        check_rate("GAE", "lam", self.lam)

    def __call__(self, batch: Batch) -> Tensor:
        if self.critic not in batch.values:
            raise PlanError(f"GAE: the batch has no values of a critic {self.critic!r}; {nearest(self.critic, batch.values)}")
        rollout, values = batch.rollout, batch.values[self.critic].detach()
        advantage = gae(rewards(batch).to(values), values, rollout.mask, rollout.terminal, self.gamma, self.lam)
        return on_chosen(advantage, batch, counted(batch, False))
