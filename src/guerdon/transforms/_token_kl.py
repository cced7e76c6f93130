"""TokenKL: the price of leaving the reference, paid at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Need
from guerdon.core.reward import RewardOutput
from guerdon.core.stats import Estimator
from guerdon.transforms._base import Stateless
from guerdon.transforms._kl import check_estimator, penalised, step_kl


@dataclass(frozen=True)
class TokenKL(Stateless):
    r"""Takes $\beta\,\widehat{\mathrm{KL}}_t$ from the dense reward of every chosen step, whatever a step is.

    The estimate compares ``rollout.logp`` (the policy that acted) with a reference; summed along a trajectory, ``"k1"`` is
    $\log \pi(y \mid x) - \log \pi_{\mathrm{ref}}(y \mid x)$.

    Args:
        beta: Price in reward units per nat.
        reference: Which of ``batch.refs``.
        estimator: ``"k1"`` log-ratio, ``"k2"`` half its square, ``"k3"`` the non-negative one with the right mean.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> _, reward = TokenKL(0.1).apply(None, batch)
        >>> bool((reward.total == batch.reward.total).all())  # total is the end's, step the way's
        True

    Source: Fine-Tuning Language Models from Human Preferences (arXiv:1909.08593).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "logp"})

    beta: float = 0.05
    reference: str = "reference"
    estimator: Estimator = "k1"

    def __post_init__(self) -> None:
        check_estimator("TokenKL", self.estimator)
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise PlanError(f"TokenKL: beta must be at least 0, got {self.beta}")

    def reward(self, batch: Batch) -> RewardOutput:
        return penalised(batch.reward, step_kl(batch, self.reference, self.estimator, "TokenKL"), self.beta)
