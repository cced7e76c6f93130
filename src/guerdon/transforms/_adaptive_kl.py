"""AdaptiveKL: a KL price that seeks a given distance to the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Need
from guerdon.core.reward import RewardOutput
from guerdon.core.stats import Estimator
from guerdon.transforms._kl import check_estimator, penalised, step_kl


@dataclass(frozen=True)
class AdaptiveKL:
    r"""As ``TokenKL``, with a price that rises while the policy is too far from the reference and falls while it is too near.

    With $d$ the mean over rows of the KL estimate summed along the trajectory, and $n$ the number of rows:
    $\beta \leftarrow \beta \left(1 + \mathrm{clip}(d / \mathrm{target} - 1, -0.2, 0.2) \cdot n / \mathrm{horizon}\right)$.
    Each batch pays the price from before its own update. The state is ``{"beta": float}``.

    Args:
        target: Nats per trajectory to hold.
        horizon: Trajectories over which the price can change by a fifth of itself; at least 1.
        init_beta: First price in reward units per nat.
        reference: Which of ``batch.refs``.
        estimator: As for ``TokenKL``; it measures the distance too.

    Example:
        >>> from guerdon.testing import example_batch
        >>> state, _ = AdaptiveKL(target=100.0, horizon=1000, init_beta=0.2).apply({"beta": 0.2}, example_batch(fail=0.0))
        >>> state["beta"] < 0.2  # nearer than the target: the price falls
        True

    Source: the controller of Fine-Tuning Language Models from Human Preferences (arXiv:1909.08593).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "logp"})

    target: float = 6.0
    horizon: int = 10_000
    init_beta: float = 0.2
    reference: str = "reference"
    estimator: Estimator = "k1"

    def __post_init__(self) -> None:
        check_estimator("AdaptiveKL", self.estimator)
        if not (math.isfinite(self.target) and self.target > 0):
            raise PlanError(f"AdaptiveKL: target must be above 0, got {self.target}")
        if self.horizon < 1:
            raise PlanError(f"AdaptiveKL: horizon must be at least 1, got {self.horizon}")
        if not (math.isfinite(self.init_beta) and self.init_beta > 0):
            raise PlanError(f"AdaptiveKL: init_beta must be above 0, got {self.init_beta}: a price of 0 would stay 0")

    def init(self) -> dict[str, float]:
        return {"beta": self.init_beta}

    def apply(self, state: Any, batch: Batch) -> tuple[dict[str, float], RewardOutput]:
        kl = step_kl(batch, self.reference, self.estimator, "AdaptiveKL")
        reward = penalised(batch.reward, kl, state["beta"])
        measured = reward.ok.to(kl.device)
        n = int(measured.sum())
        if n == 0:
            return dict(state), reward
        error = float(kl[measured].double().sum()) / n / self.target - 1
        # However many rows a batch has, the price stays positive.
        factor = max(1 + min(max(error, -0.2), 0.2) * n / self.horizon, 0.1)
        return {"beta": state["beta"] * factor}, reward
